"""How the process holds memory, and what does not fit into it."""

import ctypes

from tzrec.runtime.errors import UserError
from tzrec.runtime.world import host_memory

# From <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Has malloc reuse large blocks instead of giving each back to the system. Linux with glibc.

    By default every tensor above 32 MB is mapped anew, and the system clears its pages on first
    touch, which can take 40 % of a step of training on a CPU. The process then stays as large as it
    once was. Elsewhere, and under another malloc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def check_fits(what: str, count: int, size: int = 4) -> None:
    """Whether numbers that a configuration asks for can be held at all, before they are asked of the system.

    The system grants more than it has, and ends the process when the pages are touched.

    Args:
        what: the field and what it makes, to begin the message with.
        count: of the numbers, however large.
        size: bytes of one.

    Raises:
        UserError: they are more than the memory of this host.
    """
    memory = host_memory()
    if count * size > memory:
        raise UserError(
            f"{what}: that is {count * size / 2**30:,.1f} GiB, and this host has {memory / 2**30:,.1f} GiB; "
            "give a smaller number"
        )
