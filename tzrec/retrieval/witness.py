"""Does an index find what is there, and how fast? A few vectors are searched exactly beside it."""

import time
from typing import Any, NamedTuple

import faiss
import numpy as np

from tzrec.retrieval.exact import matrix_products, merge_ranked, rank, rescore
from tzrec.retrieval.index import building, search

QUERIES, NEAREST = 64, 10
# How many exact neighbours are kept beyond NEAREST, to know equally near ones by their positions.
_MORE = 4


def ask(sample: np.ndarray, metric: int) -> np.ndarray:
    """Queries that stand for those to come: float32 [Q, dim].

    Own vectors. For inner products also the directions in which they lie from their mean: where
    all vectors share a direction, a few of them are the answer to all own ones, and say nothing.

    Args:
        sample: float32 [S, dim], of the pool.
        metric: faiss's number.
    """
    own = sample[:: max(1, len(sample) // QUERIES)][:QUERIES]
    if metric != faiss.METRIC_INNER_PRODUCT or len(sample) == 1:
        return np.ascontiguousarray(own)
    return np.concatenate([own, own - sample.mean(0, keepdims=True)])


class Witness:
    """The exact nearest vectors of a few queries, kept while blocks of vectors go by.

    Args:
        queries: float32 [Q, dim].
        metric: faiss's number of the metric.
    """

    def __init__(self, queries: np.ndarray, metric: int) -> None:
        self.queries = np.ascontiguousarray(queries, np.float32)
        self.metric = metric
        self.seen = 0
        # Scores and positions [Q, at most _MORE * NEAREST], nearest first.
        self.best = (np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64))

    def see(self, vectors: np.ndarray) -> None:
        """Takes the next block of vectors, float32 [n, dim], into account."""
        vectors = np.ascontiguousarray(vectors)
        kept = _MORE * NEAREST
        larger = self.metric == faiss.METRIC_INNER_PRODUCT
        with matrix_products():
            _, found = faiss.knn(self.queries, vectors, min(kept, len(vectors)), self.metric)
        scores, found = rank(rescore(self.queries, vectors, found, self.metric), found, larger)
        self.best = merge_ranked([self.best, (scores, found + self.seen)], kept, larger)
        self.seen += len(vectors)

    def recall(self, index: Any) -> float:
        """Share of the NEAREST exact nearest that the index finds; of equally near ones any will do."""
        scores, near = self.best
        width = min(NEAREST, near.shape[1])
        _, found = search(index, self.queries, width)
        last = scores[:, width - 1 : width]
        slack = 1e-5 * np.maximum(1e-30, np.abs(last))
        good = (
            (scores >= last - slack)
            if self.metric == faiss.METRIC_INNER_PRODUCT
            else (scores <= last + slack)
        )
        near = np.where(good, near, -1)
        hits = ((found[:, :, None] == near[:, None, :]) & (found >= 0)[:, :, None]).any(2)
        return float(hits.mean())


class Latency(NamedTuple):
    """Milliseconds of one query on one thread: the middle one and the slowest of a hundred."""

    median: float
    worst: float


def latency(index: Any, queries: np.ndarray, k: int = NEAREST) -> Latency:
    """Measures queries one by one on one thread, as a server gets them."""
    times = []
    with building(1):
        for row in range(len(queries)):
            began = time.perf_counter()
            search(index, queries[row : row + 1], k)
            times.append(1000 * (time.perf_counter() - began))
    # The first query pays for pages that are not in memory yet.
    median, worst = np.percentile(times[1:] or times, [50, 99]).tolist()
    return Latency(median, worst)
