"""Edges from users to items of the pool, as positive and hard-negative edge tables tell them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.datasets.keys import keys_of_each

# barred(rows int64 [P], items [P]) -> bool [P]: which rows of the batch must not be given which rows of
# the pool.
Barred = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
        starts, lengths, rows = self._users(users)
        return self.items[ranges(starts, lengths)].astype(np.int64, copy=False), np.repeat(rows, lengths)

    def draw(
        self,
        users: pa.Array,
        most: int,
        generator: np.random.Generator,
        barred: Barred | None = None,
        most_barred: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most `most` different items of each user's edges, but for barred ones.

        A user with no more edges than that has all of them. Of more, `most` are drawn without
        replacement by weight (Efraimidis and Spirakis, "Weighted random sampling with a
        reservoir", IPL 2006): those with the least of an exponential variable over the weight.

        Args:
            users: ids, B rows.
            most: items a row, at the most.
            generator: where the randomness comes from.
            barred: what a row must not be given; the draw is as if it had no such edge.
            most_barred: how many items of a row may be barred, at the most.

        Returns:
            (int64 [H] rows of the pool, int64 [H] rows of the batch, ascending).
        """
        starts, lengths, rows = self._users(users)
        counts = np.minimum(lengths, most)
        out = np.cumsum(counts) - counts
        chosen = np.empty(counts.sum(), np.int64)
        few = np.flatnonzero(lengths <= most)
        chosen[ranges(out[few], lengths[few])] = ranges(starts[few], lengths[few])
        many = np.flatnonzero(lengths > most)
        # Users of like many edges stand in one matrix, of which at most a half is empty.
        size = np.frexp(lengths[many] - 1)[1]
        for bits in np.unique(size):
            some = many[size == bits]
            places = starts[some, None] + np.arange(1 << bits)
            beyond = places >= (starts + lengths)[some, None]
            waiting = generator.standard_exponential(places.shape, np.float32)
            places[beyond] = 0
            waiting /= self.weights[places]
            waiting[beyond] = np.inf
            # Among so many of the least, `most` are not barred, if there are as many at all.
            width = min(most + most_barred, 1 << bits)
            least = np.argpartition(waiting, width - 1, axis=1)[:, :width]
            if barred is not None:
                least = np.take_along_axis(least, np.argsort(np.take_along_axis(waiting, least, 1), 1), 1)
                found = self.items[np.take_along_axis(places, least, axis=1)]
                unfit = barred(np.repeat(rows[some], width), found.ravel()).reshape(found.shape)
                # What is barred goes behind the others, and what lies beyond the user's edges behind both.
                unfit = unfit + 2 * np.take_along_axis(beyond, least, axis=1)
                least = np.take_along_axis(least, np.argsort(unfit, axis=1, kind="stable"), axis=1)
            chosen[out[some, None] + np.arange(most)] = np.take_along_axis(places, least[:, :most], axis=1)
        items, owners = self.items[chosen].astype(np.int64, copy=False), np.repeat(rows, counts)
        if barred is None:
            return items, owners
        fit = ~barred(owners, items)
        return items[fit], owners[fit]

    def _users(self, users: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(first edge, number of edges, row of the batch) of each user that has edges."""
        keys, rows = keys_of_each(users, self.text_ids)
        if not len(self.users):
            return tuple(np.empty((3, 0), np.int64))  # type: ignore[return-value]
        place = np.minimum(np.searchsorted(self.users, keys), len(self.users) - 1)
        known = self.users[place] == keys
        place = place[known]
        starts = self.offsets[place]
        return starts, self.offsets[place + 1] - starts, rows[known]


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, ... of each length, one after the other: int64 [sum of lengths]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths - starts, lengths)
