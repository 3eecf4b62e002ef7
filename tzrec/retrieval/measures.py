"""What else can be said of the same retrieved rows: NDCG, MRR, coverage, and the two baselines.

A measure sees the rows batch by batch, adds up to that of other ranks, and gives a value for each K.
Sums are of integers, so that they do not depend on how the rows were divided.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from tzrec.retrieval.hit_rate import Excluded, Truth

# Fractions are added up as multiples of this.
_ONE = 1 << 40


class Scored(NamedTuple):
    """What became of some rows. Shapes as in `hit_rate`.

    Attributes:
        first: number of the first row in the table.
        request_ids: Arrow array [B], as the table has them.
        scores: float32 [B, R], nearest first, each item once.
        positions: int64 [B, R], -1 for an empty slot, which are last.
        truth: ground truth of the rows.
        ranks: int64 [P], where each pair of the ground truth was retrieved; at least K for not at all.
        found: int64 [B, I, K], what each interest was given, or all together.
        excluded: what the rows must not be given; None for nothing.
        interests: float32 [V, D] vectors of the rows, ascending by `interest_rows` int64 [V].
    """

    first: int
    request_ids: pa.Array
    scores: np.ndarray
    positions: np.ndarray
    truth: Truth
    ranks: np.ndarray
    found: np.ndarray
    excluded: Excluded | None
    interests: np.ndarray
    interest_rows: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """bool [P]."""
        return self.ranks < self.found.shape[2]


class Measure(Protocol):
    """Something that is measured at every K of a run."""

    name: str

    def see(self, scored: Scored) -> None:
        """Takes some rows into account."""

    def add(self, other: Any) -> None:
        """Takes into account what another rank has seen."""

    def value(self, k: int) -> float:
        """The measure at `k`; NaN when no row has ground truth."""


def _mean(total: int, rows: int) -> float:
    return total / _ONE / rows if rows else float("nan")


class Ndcg:
    """Mean over rows with ground truth of DCG / ideal DCG at K, an item being relevant or not.

    The ideal has min(K, items of the ground truth) hits in front; items that the pool lacks count.
    Järvelin and Kekäläinen, 2002.

    Args:
        ks: the K to measure at.
    """

    name = "ndcg"

    def __init__(self, ks: list[int]) -> None:
        self.sums, self.rows = dict.fromkeys(ks, 0), 0

    def see(self, scored: Scored) -> None:
        truth, ranks = scored.truth, scored.ranks
        sizes = truth.sizes
        self.rows += int(np.count_nonzero(sizes))
        gains = 1 / np.log2(np.arange(max(self.sums) + 1) + 2)
        ideal = np.concatenate([[1.0], np.cumsum(gains)])
        for k in self.sums:
            hit = ranks < min(k, scored.found.shape[2])
            dcg = np.bincount(truth.rows[hit], gains[ranks[hit]], minlength=truth.num_rows)
            self.sums[k] += int(np.rint(dcg / ideal[np.minimum(sizes, k)] * _ONE).astype(np.int64).sum())

    def add(self, other: "Ndcg") -> None:
        self.rows += other.rows
        for k in self.sums:
            self.sums[k] += other.sums[k]

    def value(self, k: int) -> float:
        return _mean(self.sums[k], self.rows)


class Mrr:
    """Mean over rows with ground truth of 1 / rank of the first hit within K; 0 without a hit.

    Args:
        k: the greatest K.
    """

    name = "mrr"

    def __init__(self, k: int) -> None:
        self.first, self.rows = np.zeros(k, np.int64), 0

    def see(self, scored: Scored) -> None:
        truth = scored.truth
        self.rows += int(np.count_nonzero(truth.sizes))
        best = np.full(truth.num_rows, len(self.first), np.int64)
        np.minimum.at(best, truth.rows, scored.ranks)
        self.first += np.bincount(best[best < len(self.first)], minlength=len(self.first))

    def add(self, other: "Mrr") -> None:
        self.first, self.rows = self.first + other.first, self.rows + other.rows

    def value(self, k: int) -> float:
        shares = _ONE / np.arange(1, len(self.first[:k]) + 1)
        return _mean(sum(int(n) * round(s) for n, s in zip(self.first[:k], shares, strict=True)), self.rows)


class Coverage:
    """Share of the pool that is given to at least one row with ground truth.

    Args:
        ks: the K to measure at.
        pool_size: items in the pool.
    """

    name = "coverage"

    def __init__(self, ks: list[int], pool_size: int) -> None:
        self.pool_size = pool_size
        self.given = {k: np.zeros(-(-pool_size // 8), np.uint8) for k in ks}

    def see(self, scored: Scored) -> None:
        rows = np.flatnonzero(scored.truth.sizes)
        for k, given in self.given.items():
            items = scored.found[rows, :, :k].ravel()
            fresh = np.zeros(self.pool_size, bool)
            fresh[items[items >= 0]] = True
            given |= np.packbits(fresh)

    def add(self, other: "Coverage") -> None:
        for k in self.given:
            self.given[k] |= other.given[k]

    def value(self, k: int) -> float:
        return int(np.bitwise_count(self.given[k]).sum()) / self.pool_size


class Popular:
    """Hit rate when every row is given the K items that were seen most often, but for its excluded ones.

    Args:
        seen: int64 [N], how often each item of the pool was seen.
        k: the greatest K.
        table_rows: int64 [N], the row of each item: of items seen equally often the first goes first;
            rows in order when None.
    """

    name = "popular"

    def __init__(self, seen: np.ndarray, k: int, table_rows: np.ndarray | None = None) -> None:
        rows = np.arange(len(seen)) if table_rows is None else table_rows
        self.place = np.empty(len(seen), np.int64)
        self.place[np.lexsort((rows, -seen))] = np.arange(len(seen))
        self.by_rank, self.items = np.zeros(k, np.int64), 0

    def see(self, scored: Scored) -> None:
        truth, size = scored.truth, len(self.place)
        self.items += len(truth.items)
        there = truth.items >= 0
        if scored.excluded is not None:
            there &= ~scored.excluded.has(truth.rows, truth.items)
        rows, places = truth.rows[there], self.place[truth.items[there]]
        if scored.excluded is not None:
            keys = scored.excluded.keys
            barred = np.sort(keys // size * size + self.place[keys % size])
            before = np.searchsorted(barred, rows * size + places) - np.searchsorted(barred, rows * size)
            places = places - before
        k = len(self.by_rank)
        self.by_rank += np.bincount(places[places < k], minlength=k)

    def add(self, other: "Popular") -> None:
        self.by_rank, self.items = self.by_rank + other.by_rank, self.items + other.items

    def value(self, k: int) -> float:
        return int(self.by_rank[:k].sum()) / self.items if self.items else float("nan")


class Random:
    """Expected hit rate when every row is given K different items drawn at random, but for its excluded ones.

    Each item that may be drawn is with probability K / how many may, so the expectation is exact.

    Args:
        pool_size: items in the pool.
    """

    name = "random"

    def __init__(self, pool_size: int) -> None:
        self.pool_size, self.items = pool_size, 0
        # [E]: ground-truth items that may be drawn, by how many of the pool their row may not be given.
        self.by_excluded = np.zeros(1, np.int64)

    def see(self, scored: Scored) -> None:
        truth = scored.truth
        self.items += len(truth.items)
        there = truth.items >= 0
        barred = np.zeros(truth.num_rows, np.int64)
        if scored.excluded is not None:
            there &= ~scored.excluded.has(truth.rows, truth.items)
            barred = scored.excluded.sizes
        self._count(np.bincount(barred[truth.rows[there]]))

    def _count(self, more: np.ndarray) -> None:
        total = np.zeros(max(len(self.by_excluded), len(more)), np.int64)
        total[: len(self.by_excluded)] = self.by_excluded
        total[: len(more)] += more
        self.by_excluded = total

    def add(self, other: "Random") -> None:
        self.items += other.items
        self._count(other.by_excluded)

    def value(self, k: int) -> float:
        if not self.items:
            return float("nan")
        counts = enumerate(self.by_excluded.tolist())
        return sum(n * min(1.0, k / (self.pool_size - e)) for e, n in counts if n) / self.items
