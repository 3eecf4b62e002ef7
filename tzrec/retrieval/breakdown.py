"""Where a model hits and where it misses: by popularity, by size of the ground truth, row by row."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tzrec.retrieval.exact import rescore
from tzrec.retrieval.measures import Scored
from tzrec.retrieval.pool import Pool

# Rows in the table of misses.
WORST = 20
# Pairs whose scores are computed at once, and vectors that a miss is compared with at once.
_PAIRS, _VECTORS = 1 << 16, 1 << 16
# Ids of a list that are named.
_NAMED = 3


@dataclass
class Miss:
    """A row of whose ground truth nothing was retrieved.

    Attributes:
        row: its number in the table.
        request: its id.
        wanted: ids of its ground truth, the first few.
        wanted_count: how many there are.
        given: ids that it was given, the first few.
        nearest: id of its ground-truth item with the best score.
        score: of that item.
        last_score: of the last item that the row was given; the score of `nearest` had to pass it.
        rank: place of that item among all of the pool, from 1; 0 until `place_misses` has found it.
        gap: how far the two scores are apart, in units of the row's vector.
        query: float32 [D], the vector that comes nearest to that item.
    """

    row: int
    request: str
    wanted: list[str]
    wanted_count: int
    given: list[str]
    nearest: str
    score: float
    last_score: float
    gap: float
    query: np.ndarray = field(repr=False)
    rank: int = 0


class Breakdown:
    """Counts by item and by row size, and the rows that missed worst. Adds up over ranks.

    Attributes:
        wanted, hit: int64 [N], of each item of the pool, how many rows want it and how many found it.
        by_size: number of ground-truth items of a row -> (rows, ground-truth items, hits).
        misses: the worst, worst first.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool: Pool | None = pool
        self.wanted = np.zeros(len(pool), np.int64)
        self.hit = np.zeros(len(pool), np.int64)
        self.by_size: dict[int, np.ndarray] = {}
        self.misses: list[Miss] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}  # What goes to another rank is what was counted.

    def see(self, scored: Scored) -> None:
        """Takes some rows into account."""
        truth, hits = scored.truth, scored.hits
        there = truth.items >= 0
        size = len(self.wanted)
        self.wanted += np.bincount(truth.items[there], minlength=size)
        self.hit += np.bincount(truth.items[hits], minlength=size)
        sizes, found = truth.sizes, np.bincount(truth.rows, hits, minlength=truth.num_rows)
        for count in np.unique(sizes[sizes > 0]).tolist():
            rows = sizes == count
            more = np.array([rows.sum(), count * rows.sum(), found[rows].sum()], np.int64)
            self.by_size[count] = self.by_size.get(count, 0) + more
        reachable = there
        if scored.excluded is not None:
            reachable = there & ~scored.excluded.has(truth.rows, truth.items)
        self._keep([*self.misses, *self._misses(scored, reachable & (found == 0)[truth.rows])])

    def _misses(self, scored: Scored, pairs: np.ndarray) -> list[Miss]:
        """The worst of the rows of `pairs`, bool [P], whose items are all missed."""
        pool = self._pool
        assert pool is not None
        sign = 1 if pool.larger_is_nearer else -1
        rows, items = scored.truth.rows[pairs], scored.truth.items[pairs]
        # Each pair once for every vector of its row.
        starts = np.searchsorted(scored.interest_rows, rows)
        counts = np.searchsorted(scored.interest_rows, rows, side="right") - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        vectors, items = np.repeat(starts, counts) + within, np.repeat(items, counts)
        scores = np.empty(len(items), np.float32)
        for low in range(0, len(items), _PAIRS):
            part = slice(low, low + _PAIRS)
            queries = scored.interests[vectors[part]]
            scores[part] = rescore(queries, pool.vectors, items[part, None], pool.metric)[:, 0]
        rows = scored.interest_rows[vectors]
        # The best pair of each row stands first.
        order = np.lexsort((items, -sign * scores, rows))
        order = order[np.unique(rows[order], return_index=True)[1]]
        rows, items, scores, vectors = rows[order], items[order], scores[order], vectors[order]
        given = (scored.positions >= 0).sum(1)
        last = np.where(given > 0, scored.scores[np.arange(len(given)), np.maximum(given - 1, 0)], np.nan)[
            rows
        ]
        lengths = np.maximum(np.linalg.norm(scored.interests[vectors], axis=1), 1e-30)
        gaps = np.nan_to_num(sign * (last - scores) / lengths, nan=0.0)
        chosen = np.lexsort((rows, -gaps))[:WORST]
        misses = []
        for place in chosen.tolist():
            row, item = int(rows[place]), int(items[place])
            low, high = np.searchsorted(scored.truth.rows, [row, row + 1])
            misses.append(
                Miss(
                    row=scored.first + row,
                    request=str(scored.request_ids[row].as_py()),
                    wanted=self._names(scored.truth.items[low:high]),
                    wanted_count=int(high - low),
                    given=self._names(scored.positions[row]),
                    nearest=pool.ids[item].as_py(),
                    score=float(scores[place]),
                    last_score=float(last[place]),
                    gap=float(gaps[place]),
                    query=scored.interests[vectors[place]].copy(),
                )
            )
        return misses

    def _names(self, positions: np.ndarray) -> list[str]:
        assert self._pool is not None
        return [self._pool.ids[place].as_py() for place in positions[positions >= 0][:_NAMED].tolist()]

    def _keep(self, misses: list[Miss]) -> None:
        self.misses = sorted(misses, key=lambda miss: (-miss.gap, miss.row))[:WORST]

    def add(self, other: "Breakdown") -> None:
        """Takes into account what another rank has seen."""
        self.wanted, self.hit = self.wanted + other.wanted, self.hit + other.hit
        for size, counts in other.by_size.items():
            self.by_size[size] = self.by_size.get(size, 0) + counts
        self._keep([*self.misses, *other.misses])


def place_misses(misses: list[Miss], pool: Pool) -> list[Miss]:
    """Gives every miss its rank among all items, excluded and unprobed ones too; the last one first."""
    if not misses:
        return []
    queries = np.stack([miss.query for miss in misses])
    wanted = np.array([[miss.score] for miss in misses], np.float32)
    better = np.zeros(len(misses), np.int64)
    for start in range(0, len(pool), _VECTORS):
        block = pool.vectors[start : start + _VECTORS]
        positions = np.tile(np.arange(len(block)), (len(misses), 1))
        scores = rescore(queries, block, positions, pool.metric)
        better += (scores > wanted if pool.larger_is_nearer else scores < wanted).sum(1)
    for miss, count in zip(misses, better.tolist(), strict=True):
        miss.rank = count + 1
    return sorted(misses, key=lambda miss: (-miss.rank, miss.row))


def powers(counts: np.ndarray) -> np.ndarray:
    """Bucket of each count: 0 for 0, else 1 + floor(log2(count)); int64 of the same shape."""
    return np.where(counts > 0, np.frexp(np.maximum(counts, 1).astype(np.float64))[1], 0).astype(np.int64)


def bucket_name(bucket: int) -> str:
    """The counts of a bucket of `powers`: "0", "1", "2-3", "4-7"."""
    low, high = (0, 0) if bucket == 0 else (1 << (bucket - 1), (1 << bucket) - 1)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


@dataclass(frozen=True)
class Bar:
    """A bucket of a breakdown.

    Attributes:
        name: what is in it.
        wanted: ground-truth items.
        hits: how many of them were retrieved.
        holds: how many items of the pool, or rows, are in it.
    """

    name: str
    wanted: int
    hits: int
    holds: int

    @property
    def rate(self) -> float:
        return self.hits / self.wanted


def by_popularity(wanted: np.ndarray, hit: np.ndarray, seen: np.ndarray) -> list[Bar]:
    """Hit rate by how often an item was seen, in powers of two. All int64 [N], by item of the pool."""
    bucket = powers(seen)
    sums = [np.bincount(bucket, weights=counts).astype(np.int64) for counts in (wanted, hit)]
    holds = np.bincount(bucket)
    return [
        Bar(bucket_name(place), int(w), int(h), int(n))
        for place, (w, h, n) in enumerate(zip(*sums, holds, strict=True))
        if w
    ]


def by_size(sizes: dict[int, np.ndarray]) -> list[Bar]:
    """Hit rate by number of ground-truth items of a row: 1, 2, 3, 4, then powers of two."""
    bars: dict[str, np.ndarray] = {}
    for size in sorted(sizes):
        name = f"{size:,}" if size <= 4 else bucket_name(int(powers(np.array(size))))
        name = "5-7" if name == "4-7" else name
        bars[name] = bars.get(name, 0) + sizes[size]
    return [Bar(name, int(items), int(hits), int(rows)) for name, (rows, items, hits) in bars.items()]
