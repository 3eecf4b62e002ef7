"""How often each item is a positive: the q of the logQ correction.

Yi et al. ("Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys
2019) estimate it from a stream. Here the training table lies on disk, so it is counted.
"""

from __future__ import annotations

import numpy as np

from tzrec.datasets.sampler import item_keys
from tzrec.datasets.table import Table

CHUNK = 1 << 20


class Frequency:
    """Shares of the rows of a training table.

    Args:
        keys: int64 [K], of the items, ascending.
        counts: int64 [K], rows of each.
    """

    def __init__(self, keys: np.ndarray, counts: np.ndarray) -> None:
        self.keys = keys
        self.shares = counts / max(counts.sum(), 1)
        self.least = float(self.shares.min()) if len(counts) else 1.0

    @classmethod
    def count(cls, table: Table, column: str, text_ids: bool, delimiter: str) -> Frequency:
        """Counts the items of a table: one column is read, memory follows the number of items."""
        keys, counts = np.empty(0, np.int64), np.empty(0, np.int64)
        waiting: list[np.ndarray] = []

        def fold() -> None:
            nonlocal keys, counts
            new, times = np.unique(np.concatenate(waiting), return_counts=True)
            every, places = np.unique(np.concatenate([keys, new]), return_inverse=True)
            sums = np.zeros(len(every), np.int64)
            np.add.at(sums, places, np.concatenate([counts, times]))
            keys, counts = every, sums
            waiting.clear()

        only = table.select([column])
        for batch in only.batches(0, only.num_rows):
            ids = batch.column(0)
            waiting.append(item_keys(ids, text_ids, delimiter)[0])
            if sum(map(len, waiting)) >= CHUNK:
                fold()
        if waiting:
            fold()
        return cls(keys, counts)

    def share(self, keys: np.ndarray) -> np.ndarray:
        """The share of each item, float64 [len(keys)]; one that is no positive counts as the rarest."""
        if not len(self.keys):
            return np.full(len(keys), self.least)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.shares[place], self.least)
