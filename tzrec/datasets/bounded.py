"""Work on arrays that may be larger than memory: in files that are mapped, a chunk at a time."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

# name, length, dtype -> an array to be filled
Allocate = Callable[[str, int, np.dtype], np.ndarray]

CHUNK = 1 << 20


def chunks(rows: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices that cover [0, rows) in order."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def in_memory(name: str, rows: int, kind: np.dtype) -> np.ndarray:
    """An array in memory, whatever its name."""
    return np.empty(rows, kind)


def in_folder(folder: Path) -> Allocate:
    """Arrays as files of a folder, mapped; the room is taken at once.

    A file that grew only where it is written would end the process by a signal on a full disk;
    so it is an OSError, when the array is made.
    """

    def allocate(name: str, rows: int, kind: np.dtype) -> np.ndarray:
        kind = np.dtype(kind)
        if not rows:
            return np.empty(0, kind)
        with open(folder / name, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, rows * kind.itemsize)
        return np.memmap(folder / name, kind, "r+", shape=(rows,))

    return allocate


def read_array(path: Path, kind: np.dtype) -> np.ndarray:
    """A file of values as an array that is mapped read-only."""
    return np.memmap(path, kind, "r")
