"""The order of a pool: drawn once by a fixed seed, so that equal scores favour no place in the table.

Tables of items are often in order of popularity or age. Where many scores are equal, as those of a
model are that has collapsed, whoever stands first in the table would be given first, and a hit rate
far above chance would be measured.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tzrec.retrieval.index import SEED

# Vectors that are put in order at once. A larger pool is dealt out into files first, so that the
# disk is written from front to back and memory is that of one file.
PILE_BYTES = 1 << 28
# Files that it is dealt out into, at the most.
MOST_PILES = 256


def drawn_order(count: int) -> np.ndarray:
    """int64 [count], the row of the table at each place of the pool; the same for the same count."""
    return np.random.default_rng(SEED).permutation(count)


def drawn_places(count: int) -> np.ndarray:
    """int64 [count], the place in the pool of each row of the table."""
    places = np.empty(count, np.int64)
    places[drawn_order(count)] = np.arange(count)
    return places


class Shuffler:
    """Takes vectors in the order of the table and gives them back in that of the pool.

    Args:
        folder: for files as large as all vectors, which go while they are given back.
        places: int64 [N], of each row of the table in the pool.
        dim: numbers of a vector.
        pile_bytes: vectors that are put in order at once.
    """

    def __init__(self, folder: Path, places: np.ndarray, dim: int, pile_bytes: int = PILE_BYTES) -> None:
        self.places, self.dim, self.rows = places, dim, 0
        self.pile = max(1, pile_bytes // (4 * dim), -(-len(places) // MOST_PILES))
        self.paths = [folder / f"pile-{number}" for number in range(-(-len(places) // self.pile))]
        self.record = np.dtype([("place", np.int64), ("vector", np.float32, (dim,))])

    def add(self, block: np.ndarray) -> None:
        """Takes the next rows of the table, float32 [n, dim]."""
        places = self.places[self.rows : self.rows + len(block)]
        order = np.argsort(places // self.pile, kind="stable")
        records = np.empty(len(block), self.record)
        records["place"], records["vector"] = places[order], block[order]
        bounds = np.searchsorted(places[order] // self.pile, np.arange(len(self.paths) + 1))
        for path, low, high in zip(self.paths, bounds[:-1], bounds[1:], strict=True):
            if low < high:
                with open(path, "ab") as file:
                    file.write(records[low:high].view(np.uint8).data)
        self.rows += len(block)

    def blocks(self) -> Iterator[np.ndarray]:
        """All vectors in the order of the pool, float32 [n, dim] each."""
        for number, path in enumerate(self.paths):
            records = np.fromfile(path, self.record)
            path.unlink()
            block = np.empty((len(records), self.dim), np.float32)
            block[records["place"] - number * self.pile] = records["vector"]
            yield block
