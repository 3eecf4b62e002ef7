"""The hit rate: which ground-truth items are among those retrieved, and at which rank.

Hit rate of a row is the share of its ground-truth items, a set, that were retrieved; in total
it is all hits over all ground-truth items. Shapes: B rows, I interests, K retrieved a search,
P pairs of a row and one of its ground-truth items.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.retrieval.exact import rank

# Pairs times K that are compared at once.
_BLOCK = 1 << 22


class Truth(NamedTuple):
    """Items that belong to some rows, such as their ground truth: each once a row, ascending by row.

    Attributes:
        rows: int64 [P], the row.
        items: int64 [P], position of the item in the pool, -1 when it is not there.
        num_rows: how many rows there are, those without any too.
    """

    rows: np.ndarray
    items: np.ndarray
    num_rows: int

    @property
    def sizes(self) -> np.ndarray:
        """int64 [B], how many items each row has."""
        return np.bincount(self.rows, minlength=self.num_rows)


class Excluded:
    """Items that rows must not be given.

    Args:
        items: of the rows; those that the pool lacks do not matter.
        pool_size: items in the pool.
    """

    def __init__(self, items: Truth, pool_size: int) -> None:
        there = items.items >= 0
        self.pool_size = pool_size
        self.num_rows = items.num_rows
        self.keys = np.sort(items.rows[there] * pool_size + items.items[there])

    @property
    def sizes(self) -> np.ndarray:
        """int64 [B], how many items of the pool each row must not be given."""
        return np.bincount(self.keys // self.pool_size, minlength=self.num_rows)

    def part(self, start: int, stop: int) -> "Excluded":
        """Those of the rows [start, stop), counted from `start`."""
        stop = min(stop, self.num_rows)
        low, high = np.searchsorted(self.keys, [start * self.pool_size, stop * self.pool_size])
        part = Excluded.__new__(Excluded)
        part.pool_size, part.num_rows = self.pool_size, stop - start
        part.keys = self.keys[low:high] - start * self.pool_size
        return part

    def of_rows(self, rows: np.ndarray) -> "Excluded":
        """Those of other rows: row i of the result is `rows[i]` of these."""
        sizes = self.sizes
        starts = np.cumsum(sizes) - sizes
        counts = sizes[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        items = self.keys[np.repeat(starts[rows], counts) + within] % self.pool_size
        return Excluded(Truth(np.repeat(np.arange(len(rows)), counts), items, len(rows)), self.pool_size)

    def has(self, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Whether a row must not be given a position: bool, of the shape of `positions` [R, ...].

        Args:
            rows: int64 [R].
            positions: int64 [R, ...]; a negative one is never excluded.
        """
        rows = rows.reshape(-1, *[1] * (positions.ndim - 1))
        keys = rows * self.pool_size + positions
        if not len(self.keys):
            return np.zeros(positions.shape, bool)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return (self.keys[places] == keys) & (positions >= 0)


@dataclass
class Tally:
    """Counts that add up over batches and ranks.

    Attributes:
        by_rank: int64 [K], ground-truth items found at each rank; with several interests, at the
            best rank that one of them gives.
        items: ground-truth items.
        rows: rows with ground truth.
        without: rows without, which are left out.
        absent: ground-truth items that are not in the pool: never a hit.
        excluded: ground-truth items that are excluded for their row: never a hit either.
        tied: rows with ground truth of whose retrieved items half or more score alike.
        short: rows with ground truth that were given fewer items than were asked for, and than half of the
            pool.
    """

    by_rank: np.ndarray
    items: int = 0
    rows: int = 0
    without: int = 0
    absent: int = 0
    excluded: int = 0
    tied: int = 0
    short: int = 0

    @classmethod
    def nothing(cls, k: int) -> "Tally":
        return cls(np.zeros(k, np.int64))

    @classmethod
    def of(cls, ranks: np.ndarray, truth: Truth, k: int, excluded: Excluded | None = None) -> "Tally":
        """The counts of some rows; `ranks` from `find_ranks`."""
        rows = int(np.count_nonzero(truth.sizes))
        return cls(
            np.bincount(ranks[ranks < k], minlength=k),
            len(ranks),
            rows,
            truth.num_rows - rows,
            int(np.count_nonzero(truth.items < 0)),
            0 if excluded is None else int(excluded.has(truth.rows, truth.items).sum()),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.by_rank + other.by_rank,
            self.items + other.items,
            self.rows + other.rows,
            self.without + other.without,
            self.absent + other.absent,
            self.excluded + other.excluded,
            self.tied + other.tied,
            self.short + other.short,
        )

    def hits(self, k: int) -> int:
        """Ground-truth items among the first `k`."""
        return int(self.by_rank[:k].sum())

    def rate(self, k: int) -> float:
        """All hits over all ground-truth items; NaN when there is none."""
        return self.hits(k) / self.items if self.items else float("nan")


def encode_truth(texts: pa.Array, rows: np.ndarray, count: int, pool: pa.Array) -> Truth:
    """Ids as positions in the pool, each once a row, in the order given.

    Args:
        texts: large_string [V], the ids.
        rows: int64 [V], the row of each, ascending.
        count: number of rows.
        pool: large_string [N], the ids of the items, each once.
    """
    encoded = texts.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    found = pc.fill_null(pc.index_in(encoded.dictionary, value_set=pool), -1)
    positions = found.to_numpy(zero_copy_only=False).astype(np.int64)
    _, first = np.unique(rows * max(1, len(positions)) + codes, return_index=True)
    first.sort()
    return Truth(rows[first], positions[codes[first]], count)


def find_ranks(retrieved: np.ndarray, truth: Truth) -> np.ndarray:
    """At which rank each pair of the ground truth was retrieved.

    Args:
        retrieved: int64 [B, I, K], positions in the pool by rank, -1 for an empty slot.
        truth: of the same rows.

    Returns:
        int64 [P], from 0, the best of all interests; K for a pair that was not retrieved.
    """
    _, interests, k = retrieved.shape
    ranks = np.full(len(truth.rows), k, np.int64)
    if not k or not interests:
        return ranks
    step = max(1, _BLOCK // (interests * k))
    for start in range(0, len(ranks), step):
        part = slice(start, start + step)
        rows, items = truth.rows[part], truth.items[part]
        # An empty slot is -1, and so is an item that the pool lacks: neither is a hit.
        found = (retrieved[rows] == items[:, None, None]).any(1) & (items >= 0)[:, None]
        ranks[part] = np.where(found.any(1), found.argmax(1), k)
    return ranks


def row_rates(hits: np.ndarray, truth: Truth) -> np.ndarray:
    """Hit rate of each row, float64 [B], of bool [P]; NaN for a row without ground truth."""
    sizes = truth.sizes
    found = np.bincount(truth.rows, hits, minlength=truth.num_rows)
    return np.divide(found, sizes, out=np.full(truth.num_rows, np.nan), where=sizes > 0)


def merge(
    scores: np.ndarray, positions: np.ndarray, larger_is_nearer: bool, keep: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of several interests as one list a row: each item once, nearest first.

    An item found by several interests keeps its best score; of equal scores the item that stands
    first in the pool goes first.

    Args:
        scores: float32 [B, I, K].
        positions: int64 [B, I, K], -1 for an empty slot.
        larger_is_nearer: True for inner products.
        keep: how many to keep; all when None.

    Returns:
        Scores and positions [B, min(I * K, keep)]; -1 in the slots left over, which are last.
    """
    scores, positions = (x.reshape(len(x), x.shape[1] * x.shape[2]) for x in (scores, positions))
    scores, positions = rank(scores, positions, larger_is_nearer)
    # Equal positions side by side, the best first: the others are emptied.
    order = np.argsort(positions, axis=1, kind="stable")
    (side_by_side,) = _reorder(order, positions)
    again = np.zeros_like(positions, bool)
    np.put_along_axis(again, order[:, 1:], side_by_side[:, 1:] == side_by_side[:, :-1], axis=1)
    positions = np.where(again, -1, positions)
    scores, positions = _reorder(np.argsort(positions < 0, axis=1, kind="stable"), scores, positions)
    return scores[:, :keep], positions[:, :keep]


def _reorder(order: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.take_along_axis(array, order, axis=1) for array in arrays)
