"""The hit rate: which ground-truth items are among those retrieved.

Hit rate of a row is the share of its ground-truth items, a set, that were retrieved; in total
it is all hits over all ground-truth items. Shapes: B rows, I interests, K retrieved a search,
P pairs of a row and one of its ground-truth items.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Pairs times K that are compared at once.
_BLOCK = 1 << 22


class Truth(NamedTuple):
    """The ground truth of some rows: each item once a row, ascending by row.

    Attributes:
        rows: int64 [P], the row.
        items: int64 [P], position of the item in the pool, -1 when it is not there.
        num_rows: how many rows there are, those without ground truth too.
    """

    rows: np.ndarray
    items: np.ndarray
    num_rows: int

    def part(self, start: int, stop: int) -> "Truth":
        """The ground truth of the rows [start, stop), counted from `start`."""
        low, high = np.searchsorted(self.rows, [start, stop])
        return Truth(self.rows[low:high] - start, self.items[low:high], stop - start)

    @property
    def sizes(self) -> np.ndarray:
        """int64 [B], how many ground-truth items each row has."""
        return np.bincount(self.rows, minlength=self.num_rows)


@dataclass(frozen=True)
class Tally:
    """Counts that add up over batches and ranks.

    Attributes:
        hits: ground-truth items retrieved.
        items: ground-truth items.
        rows: rows with ground truth.
        without: rows without, which are left out.
        absent: ground-truth items that are not in the pool: never a hit.
    """

    hits: int = 0
    items: int = 0
    rows: int = 0
    without: int = 0
    absent: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def rate(self) -> float:
        """All hits over all ground-truth items; NaN when there is none."""
        return self.hits / self.items if self.items else float("nan")


def encode_truth(texts: pa.Array, rows: np.ndarray, count: int, pool: pa.Array) -> Truth:
    """Ground-truth ids as positions in the pool, each once a row, in the order given.

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


def find_hits(retrieved: np.ndarray, truth: Truth) -> np.ndarray:
    """Which pairs of the ground truth were retrieved.

    Args:
        retrieved: int64 [B, K], positions in the pool, -1 for an empty slot.
        truth: of the same rows.

    Returns:
        bool [P].
    """
    hits = np.zeros(len(truth.rows), bool)
    if not retrieved.shape[1]:
        return hits
    step = max(1, _BLOCK // retrieved.shape[1])
    for start in range(0, len(hits), step):
        rows, items = truth.rows[start : start + step], truth.items[start : start + step]
        # An empty slot is -1, and so is an item that the pool lacks: neither is a hit.
        hits[start : start + step] = (retrieved[rows] == items[:, None]).any(1) & (items >= 0)
    return hits


def tally(hits: np.ndarray, truth: Truth) -> Tally:
    """The counts of some rows; `hits` from `find_hits`."""
    rows = int(np.count_nonzero(truth.sizes))
    absent = int(np.count_nonzero(truth.items < 0))
    return Tally(int(hits.sum()), len(hits), rows, truth.num_rows - rows, absent)


def row_rates(hits: np.ndarray, truth: Truth) -> np.ndarray:
    """Hit rate of each row, float64 [B]; NaN for a row without ground truth."""
    sizes = truth.sizes
    found = np.bincount(truth.rows, hits, minlength=truth.num_rows)
    return np.divide(found, sizes, out=np.full(truth.num_rows, np.nan), where=sizes > 0)


def merge(
    scores: np.ndarray, positions: np.ndarray, larger_is_nearer: bool, keep: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of several interests as one list a row: each item once, nearest first.

    An item found by several interests keeps its best score; of equal scores the interest and
    the place in its list decide.

    Args:
        scores: float32 [B, I, K].
        positions: int64 [B, I, K], -1 for an empty slot.
        larger_is_nearer: True for inner products.
        keep: how many to keep; all when None.

    Returns:
        Scores and positions [B, min(I * K, keep)]; -1 in the slots left over, which are last.
    """
    scores, positions = (x.reshape(len(x), x.shape[1] * x.shape[2]) for x in (scores, positions))
    ranked = np.where(positions < 0, np.inf, -scores if larger_is_nearer else scores)
    scores, positions = _reorder(np.argsort(ranked, axis=1, kind="stable"), scores, positions)
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
