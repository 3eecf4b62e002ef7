"""Edges from users to items of the pool, as positive and hard-negative edge tables tell them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.datasets.negative_table import keys_of_each


@dataclass(frozen=True)
class Edges:
    """E edges of U users; every array may be a memory map.

    Attributes:
        users: int64 [U], keys of the users, ascending.
        offsets: int64 [U + 1], the edges of users[i] are [offsets[i], offsets[i + 1]).
        items: int32 or int64 [E], rows of the pool, of one user each once.
        weights: float32 [E], greater than 0.
        text_ids: whether the ids of the users are text.
    """

    users: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    text_ids: bool = False

    @classmethod
    def build(
        cls, users: np.ndarray, items: np.ndarray, weights: np.ndarray, text_ids: bool = False
    ) -> Edges:
        """Edges in any order as a table; an edge that stands twice is one with the sum of the weights.

        Args:
            users: int64 [E], keys.
            items: int64 [E], rows of the pool.
            weights: float [E]; edges of weight 0 are left out.
            text_ids: whether the ids of the users are text.
        """
        order = np.lexsort((items, users))
        order = order[weights[order] > 0]
        users, items, weights = users[order], items[order], weights[order]
        first = np.ones(len(users), bool)
        first[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
        starts = np.flatnonzero(first)
        weights = np.add.reduceat(weights.astype(np.float64), starts) if len(starts) else weights
        found, places = np.unique(users[starts], return_index=True)
        offsets = np.append(places, len(starts)).astype(np.int64)
        return cls(found, offsets, items[starts], weights.astype(np.float32), text_ids)

    def __len__(self) -> int:
        return len(self.items)

    def of(self, users: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """All items that the users of a batch have an edge to.

        Args:
            users: ids, B rows; a null and a user without edges have none.

        Returns:
            (int64 [F] rows of the pool, int64 [F] rows of the batch, ascending).
        """
        edges, rows = self._edges_of(users)
        return self.items[edges].astype(np.int64, copy=False), rows

    def draw(
        self, users: pa.Array, most: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most `most` different items of each user's edges.

        A user with no more edges than that has all of them. Of more, `most` are drawn without
        replacement by weight (Efraimidis and Spirakis, "Weighted random sampling with a
        reservoir", IPL 2006): those with the least of an exponential variable over the weight.

        Returns:
            (int64 [H] rows of the pool, int64 [H] rows of the batch, ascending).
        """
        edges, rows = self._edges_of(users)
        if not len(edges):
            return edges, rows
        waiting = generator.exponential(size=len(edges)) / self.weights[edges]
        order = np.lexsort((waiting, rows))
        begins = np.searchsorted(rows, rows)  # rows ascend, so the sort moves nothing across them.
        order = order[np.arange(len(order)) - begins < most]
        return self.items[edges[order]].astype(np.int64, copy=False), rows[order]

    def _edges_of(self, users: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        keys, rows = keys_of_each(users, self.text_ids)
        if not len(self.users):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        place = np.minimum(np.searchsorted(self.users, keys), len(self.users) - 1)
        known = self.users[place] == keys
        place, rows = place[known], rows[known]
        starts = self.offsets[place]
        lengths = self.offsets[place + 1] - starts
        return ranges(starts, lengths), np.repeat(rows, lengths)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, ... of each length, one after the other: int64 [sum of lengths]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths - starts, lengths)
