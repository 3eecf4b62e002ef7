"""Which row has this key: sorted int64 keys on disk, found in a few steps whatever their number."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tzrec.datasets.bounded import CHUNK, Allocate, chunks, in_memory

PART = 1 << 21  # keys that are sorted at a time
# Beyond so many halvings (keys that crowd in few slots) a plain binary search is as good.
STEPS = 12


@dataclass(frozen=True)
class KeyIndex:
    """N keys, each once.

    Attributes:
        keys: int64 [N], ascending.
        order: int32 or int64 [N], the row of each.
        starts: int32 or int64 [S + 1], slot s of the range of the keys, 2^shift wide, holds
            keys[starts[s]:starts[s + 1]]. So a search begins where it nearly ends, and touches
            a few cache lines instead of one for each halving of N.
    """

    keys: np.ndarray
    order: np.ndarray
    starts: np.ndarray

    def find(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where these keys are: (bool [K] whether there, int64 [K] rows of those that are)."""
        inside = (wanted >= self.keys[0]) & (wanted <= self.keys[-1])
        distance = np.where(inside, wanted, self.keys[0]).view(np.uint64) - _first(self.keys)
        slot = (distance >> _shift(self.keys, len(self.starts) - 1)).astype(np.int64)
        low, high = self.starts[slot].astype(np.int64), self.starts[slot + 1].astype(np.int64)
        steps = int((high - low).max(initial=0)).bit_length()
        if steps > STEPS:
            low = np.searchsorted(self.keys, wanted)
        else:
            for _ in range(steps):
                middle = (low + high) >> 1
                right = self.keys[np.minimum(middle, len(self.keys) - 1)] < wanted
                right &= low < high
                low, high = np.where(right, middle + 1, low), np.where(right, high, middle)
        place = np.minimum(low, len(self.keys) - 1)
        found = inside & (self.keys[place] == wanted)
        return found, self.order[place[found]].astype(np.int64)


def _first(keys: np.ndarray) -> np.uint64:
    # Differences of int64 as uint64 are right whatever the signs.
    return keys[:1].view(np.uint64)[0]


def _shift(keys: np.ndarray, slots: int) -> np.uint64:
    width = int(keys[-1]) - int(keys[0])
    return np.uint64(max(width.bit_length() - slots.bit_length() + 1, 0))


def build_index(keys: np.ndarray, allocate: Allocate = in_memory) -> tuple[KeyIndex, int]:
    """The index of these keys and the first row whose key stands before it already, or -1.

    Args:
        keys: int64 [N], N > 0; key i belongs to row i.
        allocate: where the arrays of the index lie, by their names; what is in memory besides is
            a part of PART keys.
    """
    rows = len(keys)
    kind = np.dtype(np.int32 if rows < 2**31 else np.int64)
    ordered, order = allocate("keys", rows, keys.dtype), allocate("order", rows, kind)
    again = _sort(keys, ordered, order)
    # About four keys a slot where they are spread evenly.
    slots = 1 << max((rows // 4).bit_length() - 1, 0)
    starts = allocate("starts", slots + 1, kind)
    shift = _shift(ordered, slots)
    first, last = _first(ordered), (int(ordered[-1]) - int(ordered[0])) >> int(shift)
    starts[:] = rows
    for slot in chunks(last + 1):
        edges = (np.arange(slot.start, slot.stop, dtype=np.uint64) << shift) + first
        starts[slot] = np.searchsorted(ordered, edges.view(np.int64))
    return KeyIndex(ordered, order, starts), again


def _sort(keys: np.ndarray, ordered: np.ndarray, order: np.ndarray) -> int:
    """Sorts into `ordered` and `order`; the first row whose key an earlier row has, or -1."""
    rows = len(keys)
    if all((keys[c.start : c.stop] < keys[c.start + 1 : c.stop + 1]).all() for c in chunks(rows - 1, CHUNK)):
        for c in chunks(rows, CHUNK):
            ordered[c], order[c] = keys[c], np.arange(c.start, c.stop)
        return -1
    # Ranges of keys that hold about PART each, by a sample; each is then sorted in memory.
    sample = np.sort(keys[:: max(rows // (1 << 16), 1)])
    parts = -(-rows // PART)
    borders = sample[np.arange(1, parts) * len(sample) // parts]
    sizes = np.zeros(parts + 1, np.int64)
    for c in chunks(rows, CHUNK):
        sizes[1:] += np.bincount(np.searchsorted(borders, keys[c], side="right"), minlength=parts)
    ends = np.cumsum(sizes)
    filled = ends[:-1].copy()
    for c in chunks(rows, CHUNK):
        part = np.searchsorted(borders, keys[c], side="right").astype(np.uint16)
        by_part = np.argsort(part, kind="stable")
        counts = np.bincount(part, minlength=parts)
        for number, chosen in enumerate(np.split(by_part, np.cumsum(counts)[:-1])):
            at = slice(filled[number], filled[number] + len(chosen))
            ordered[at], order[at] = keys[c][chosen], chosen + c.start
            filled[number] = at.stop
    again = [_sort_part(ordered[a:b], order[a:b]) for a, b in pairwise(ends)]
    return min((row for row in again if row >= 0), default=-1)


def _sort_part(keys: np.ndarray, rows: np.ndarray) -> int:
    by_key = np.argsort(keys, kind="stable")
    keys[:], rows[:] = keys[by_key], rows[by_key]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    return int(rows[twice + 1].min()) if len(twice) else -1
