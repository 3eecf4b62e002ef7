"""Exhaustive search whose result does not depend on what else is searched for in the same call.

Candidates come from a matrix product, whose last bits change with the number of queries. They are
scored once more pair by pair, which does not, and are taken as the answer only where no vector
that was not a candidate can be nearer, whatever the rounding was. Elsewhere (many equal scores, a
filter that takes most candidates away) the search goes deeper, and in the end looks at every vector.

Shapes: Q queries, N vectors of D numbers, K wanted, C candidates.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import faiss
import numpy as np

# keep(rows int64 [R], positions int64 [R, C]) -> bool [R, C]: what a query may be given. `rows` are
# numbers of queries.
Keep = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Half the distance between neighbouring float32 numbers around 1.
_UNIT = 2.0**-24
# How much deeper the second look goes than the first.
_DEEPER = 4


def rescore(queries: np.ndarray, vectors: np.ndarray, positions: np.ndarray, metric: int) -> np.ndarray:
    """Scores of pairs, each a function of its query and its vector alone.

    Args:
        queries: float32 [Q, D].
        vectors: float32 [N, D].
        positions: int64 [Q, C]; a negative one scores as badly as can be.
        metric: faiss's number: inner products, or squared distances.

    Returns:
        float32 [Q, C].
    """
    positions = np.ascontiguousarray(positions)
    scores = np.empty(positions.shape, np.float32)
    if scores.size:
        name = "inner_products" if metric == faiss.METRIC_INNER_PRODUCT else "L2sqr"
        pairs = getattr(faiss, f"fvec_{name}_by_idx")
        pairs(*map(faiss.swig_ptr, (scores, queries, vectors, positions)), queries.shape[1], *positions.shape)
    return scores


def rank(scores: np.ndarray, positions: np.ndarray, larger_is_nearer: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows in order, nearest first, and of equal scores the first position; -1 is last.

    Args:
        scores: float32 [Q, C].
        positions: int64 [Q, C], -1 for an empty slot.
        larger_is_nearer: True for inner products.

    Returns:
        Scores and positions [Q, C]; the score of an empty slot is NaN.
    """
    keys = -scores if larger_is_nearer else scores.copy()
    keys[positions < 0] = np.inf
    order = np.argsort(keys, axis=1, kind="stable")
    keys = np.take_along_axis(keys, order, 1)
    tied = np.flatnonzero((keys[:, 1:] == keys[:, :-1]).any(1))
    if len(tied):
        # Infinity is an empty slot and sorts behind any position of a finite score.
        order[tied] = np.take_along_axis(
            order[tied], np.lexsort((np.take_along_axis(positions[tied], order[tied], 1), keys[tied])), 1
        )
    scores, positions = (np.take_along_axis(x, order, 1) for x in (scores, positions))
    scores[positions < 0] = np.nan
    return scores, positions


def merge_ranked(
    parts: list[tuple[np.ndarray, np.ndarray]], k: int, larger_is_nearer: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of several results for the same queries over different vectors."""
    if len(parts) == 1:
        return parts[0]
    scores, positions = (np.concatenate([part[n] for part in parts], axis=1) for n in (0, 1))
    scores, positions = rank(scores, positions, larger_is_nearer)
    return scores[:, :k], positions[:, :k]


@contextmanager
def matrix_products() -> Iterator[None]:
    """faiss compares by products of matrices whatever the number of queries.

    By itself it goes pair by pair below 128,000 numbers of queries (2,000 of 64), which takes 3.5
    times as long.
    """
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 1
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


def nearest(
    queries: np.ndarray,
    vectors: np.ndarray,
    k: int,
    metric: int,
    longest: float,
    keep: Keep | None = None,
    extra: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest vectors of each query, of those that `keep` allows.

    Args:
        queries: float32 [Q, D], contiguous.
        vectors: float32 [N, D], contiguous; may be a mapped file.
        k: how many are wanted.
        metric: faiss's number.
        longest: the greatest length of a vector, or more; in it the bound on rounding is expressed.
        keep: what a query may be given; anything when None.
        extra: candidates that `keep` is expected to take away.

    Returns:
        Scores float32 [Q, k], nearest first, of equal ones the first position; positions int64
        [Q, k]. -1 and NaN where fewer than k are allowed.
    """
    count, larger = len(vectors), metric == faiss.METRIC_INNER_PRODUCT
    scores = np.full((len(queries), k), np.nan, np.float32)
    positions = np.full((len(queries), k), -1, np.int64)
    rows = np.arange(len(queries))
    depth = k + max(32, k // 8) + extra
    for deep in (depth, _DEEPER * depth):
        if not len(rows):
            break
        deep = min(deep, count)
        found_scores, found, sure = _candidates(queries, rows, vectors, k, deep, metric, longest, keep)
        width = min(k, deep)
        scores[rows[sure], :width] = found_scores[sure, :width]
        positions[rows[sure], :width] = found[sure, :width]
        rows = rows[~sure]
    if len(rows):
        scores[rows], positions[rows] = _look_at_all(queries, rows, vectors, k, metric, larger, keep)
    return scores, positions


def _candidates(
    queries: np.ndarray,
    rows: np.ndarray,
    vectors: np.ndarray,
    k: int,
    depth: int,
    metric: int,
    longest: float,
    keep: Keep | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranked candidates [R, depth], and which rows have their true `k` nearest among them."""
    asked = queries[rows]
    with matrix_products():
        rough, found = faiss.knn(asked, vectors, depth, metric)
    scores = rescore(asked, vectors, found, metric)
    if keep is not None:
        found = np.where(keep(rows, found), found, -1)
    larger = metric == faiss.METRIC_INNER_PRODUCT
    scores, found = rank(scores, found, larger)
    if depth == len(vectors):
        return scores, found, np.ones(len(rows), bool)
    # No vector outside is nearer than the last candidate was thought to be, but for the rounding of both.
    lengths = np.linalg.norm(asked, axis=1)
    width = asked.shape[1] + 8
    if larger:
        slack, sign = 2 * width * _UNIT * lengths * longest, 1
    else:
        slack, sign = 4 * width * _UNIT * (lengths + longest) ** 2, -1
    last = found[:, k - 1]
    sure = (last >= 0) & (sign * scores[:, k - 1] > sign * rough[:, -1] + slack)
    return scores, found, sure


def _look_at_all(
    queries: np.ndarray,
    rows: np.ndarray,
    vectors: np.ndarray,
    k: int,
    metric: int,
    larger: bool,
    keep: Keep | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest [R, k] from the scores of all pairs: slow, for the few rows where it is needed."""
    scores = np.full((len(rows), k), np.nan, np.float32)
    positions = np.full((len(rows), k), -1, np.int64)
    everything = np.arange(len(vectors))[None, :]
    width = min(k, len(vectors))
    for place, row in enumerate(rows):
        query = np.ascontiguousarray(queries[row : row + 1])
        line = rescore(query, vectors, everything, metric)[0]
        keys = -line if larger else line
        allowed = np.arange(len(vectors))
        if keep is not None:
            allowed = np.flatnonzero(keep(rows[place : place + 1], everything)[0])
        if not len(allowed):
            continue
        keys = keys[allowed]
        least = np.partition(keys, min(width, len(keys)) - 1)[min(width, len(keys)) - 1]
        chosen = np.flatnonzero(keys <= least)
        chosen = allowed[chosen[np.argsort(keys[chosen], kind="stable")[:k]]]
        positions[place, : len(chosen)] = chosen
        scores[place, : len(chosen)] = line[chosen]
    return scores, positions
