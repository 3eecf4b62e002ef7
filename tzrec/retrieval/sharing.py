"""Ranks of one job: a failure of one is a failure of all, and the pool is built once a host."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import faiss

from tzrec.retrieval.pool import Pool, open_pool
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import gather
from tzrec.runtime.world import World

T = TypeVar("T")


def agreed(world: World, work: Callable[[], T]) -> T:
    """Does `work` on this rank; a UserError on any rank is raised on every one. Collective."""
    result: list[T] = []
    problem = None
    try:
        result.append(work())
    except UserError as error:
        problem = str(error)
    for message in gather(world, problem):
        if message is not None:
            raise UserError(message)
    return result[0]


def build_threads(world: World) -> int:
    """Threads for the one process of a host that builds while the others wait for it."""
    return min(os.cpu_count() or 1, faiss.omp_get_max_threads() * world.local_size)


def once_a_host(world: World, write: Callable[[Path], object]) -> Pool:
    """The pool as the first process of each host writes it, mapped by all of the host. Collective.

    Args:
        world: the place of this process.
        write: leaves the files of a pool in a folder, which stands in the temporary folder
            (TMPDIR) until all of the host have mapped them.
    """
    folder = tempfile.mkdtemp(prefix="tzrec-pool-") if world.local_rank == 0 else None
    try:

        def first() -> str | None:
            if folder is not None:
                write(Path(folder))
            return folder

        folders = gather(world, agreed(world, first))
        # torchrun numbers the processes of a host one after another.
        pool = open_pool(Path(folders[world.rank - world.local_rank] or ""))
        gather(world, None)
        return pool
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
