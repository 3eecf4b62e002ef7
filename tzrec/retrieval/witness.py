"""Does an index find what is there? A few vectors are searched exactly beside it."""

from typing import Any

import faiss
import numpy as np

from tzrec.retrieval.index import search

QUERIES, NEAREST = 64, 10


class Witness:
    """The exact nearest vectors of a few queries, kept while blocks of vectors go by.

    Args:
        queries: float32 [Q, dim].
        metric: faiss's number of the metric.
    """

    def __init__(self, queries: np.ndarray, metric: int) -> None:
        self.queries = np.ascontiguousarray(queries)
        self.metric = metric
        # [Q, at most NEAREST], nearest first.
        self.best: np.ndarray = np.empty((len(queries), 0), np.float32)

    @property
    def _sign(self) -> np.float32:
        return np.float32(-1 if self.metric == faiss.METRIC_INNER_PRODUCT else 1)

    def see(self, vectors: np.ndarray) -> None:
        """Takes a block of vectors, float32 [n, dim], into account."""
        scores, _ = faiss.knn(
            self.queries, np.ascontiguousarray(vectors), min(NEAREST, len(vectors)), self.metric
        )
        scores = np.concatenate([self.best, scores], axis=1)
        self.best = self._sign * np.sort(self._sign * scores, axis=1)[:, :NEAREST]

    def recall(self, index: Any) -> float:
        """Share of the exact nearest that the index finds; of equally near ones any will do."""
        scores, positions = search(index, self.queries, self.best.shape[1])
        worst = self._sign * self.best[:, -1:]
        slack = 1e-4 * np.maximum(1.0, np.abs(self.best).max())
        return float(((positions >= 0) & (self._sign * scores <= worst + slack)).mean())
