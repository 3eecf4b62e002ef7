"""Ranks of one host: the pool is built once for all of them."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import faiss

from tzrec.retrieval.pool import Pool, open_pool
from tzrec.runtime.processes import agreed, gather
from tzrec.runtime.scratch import scratch_folder
from tzrec.runtime.world import World


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
    with ExitStack() as stack:

        def first() -> str | None:
            if world.local_rank != 0:
                return None
            folder = stack.enter_context(scratch_folder())
            write(folder)
            return str(folder)

        folders = gather(world, agreed(world, first))
        # torchrun numbers the processes of a host one after another.
        pool = open_pool(Path(folders[world.rank - world.local_rank] or ""))
        gather(world, None)
        return pool
