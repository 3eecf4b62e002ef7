"""Which lists of an IVF index a query looks into, the same for every way of searching them."""

from dataclasses import dataclass

import faiss
import numpy as np


@dataclass(frozen=True)
class Probes:
    """The centres of the lists and how many of them a query looks into.

    Attributes:
        centres: float32 [L, D].
        count: lists a query looks into, 1 <= count <= L.
        metric: faiss's number.
    """

    centres: np.ndarray
    count: int
    metric: int

    @property
    def all(self) -> bool:
        """Whether every list is looked into."""
        return self.count >= len(self.centres)

    def chosen(self, queries: np.ndarray) -> np.ndarray:
        """The lists each query looks into, as bool [Q, L]; of equally near ones the first.

        Computed in float64 and compared in float32, so that it does not depend on the other queries.
        """
        centres = self.centres.astype(np.float64)
        keys = queries.astype(np.float64) @ centres.T
        if self.metric != faiss.METRIC_INNER_PRODUCT:
            # Without the square of the query, which all its distances have in common.
            keys = 2 * keys - (centres**2).sum(1)
        keys = keys.astype(np.float32)
        place = len(centres) - self.count
        least = np.partition(keys, place, axis=1)[:, place, None]
        chosen = keys >= least
        crowded = np.flatnonzero(chosen.sum(1) > self.count)
        if len(crowded):
            above, equal = keys[crowded] > least[crowded], keys[crowded] == least[crowded]
            room = self.count - above.sum(1, keepdims=True)
            chosen[crowded] = above | (equal & (np.cumsum(equal, axis=1) <= room))
        return chosen
