"""How the process holds memory."""

import ctypes

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
