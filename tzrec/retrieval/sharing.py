"""Ranks of one job: a failure of one is a failure of all, and the pool is built once a host."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import faiss
import pyarrow as pa

from tzrec.retrieval.index import load, save
from tzrec.retrieval.items import Pool
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


def once_a_host(world: World, build: Callable[[], Pool]) -> Pool:
    """The pool as the first process of each host builds it; the others map its file. Collective.

    The file stands in the temporary folder (TMPDIR) until all of the host have mapped it.
    """
    folder = None
    pool: Pool | None = None
    try:
        if world.local_rank == 0 and world.local_size > 1:
            folder = tempfile.mkdtemp(prefix="tzrec-pool-")

        def first() -> str | None:
            nonlocal pool
            if world.local_rank == 0:
                pool = build()
                if folder is not None:
                    _write(pool, Path(folder))
            return folder

        folders = gather(world, agreed(world, first))
        if pool is None:
            # torchrun numbers the processes of a host one after another.
            pool = _read(Path(folders[world.rank - world.local_rank] or ""))
        gather(world, None)
        return pool
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _write(pool: Pool, folder: Path) -> None:
    save(pool.index, str(folder / "index"))
    table = pa.table({"id": pool.ids})
    with pa.ipc.new_file(str(folder / "ids"), table.schema) as writer:
        writer.write_table(table)


def _read(folder: Path) -> Pool:
    with pa.memory_map(str(folder / "ids")) as source:
        ids = pa.ipc.open_file(source).read_all().column("id").combine_chunks()
    return Pool(load(str(folder / "index"), shared=True), ids)
