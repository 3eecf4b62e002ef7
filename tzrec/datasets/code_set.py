"""A set of 64-bit integers that answers for many at once, built and asked in whole-array steps of NumPy.

Sorting a batch's ids or building a general hash table costs more than drawing the negatives; this
costs a multiplication and one access a value.
"""

import numpy as np

# 2**64 over the golden ratio: multiplying by it spreads near numbers over the high bits (Knuth, The Art
# of Computer Programming 3, 6.4). Each level takes another odd multiple, so that values which
# share a slot on one level mostly part on the next.
SPREAD = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
LEAST_BITS, SLOTS_A_VALUE = 6, 4


class CodeSet:
    """Values in tables of slots: one that another has driven out of its slot stands on the next level.

    Args:
        values: int64 [V], any number of times each.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.empty = _absent(values)
        self.levels: list[tuple[np.uint64, np.uint64, np.ndarray]] = []
        factor = SPREAD
        while len(values):
            bits = max(LEAST_BITS, (len(values) * SLOTS_A_VALUE - 1).bit_length())
            level = np.uint64(factor), np.uint64(64 - bits)
            slots = _slots(values, *level)
            table = np.full(1 << bits, self.empty)
            table[slots] = values
            self.levels.append((*level, table))
            values = values[np.flatnonzero(table[slots] != values)]
            factor = (factor * SPREAD) & MASK

    def has(self, values: np.ndarray) -> np.ndarray:
        """Which values the set holds.

        Args:
            values: int64 [Q].

        Returns:
            bool [Q].
        """
        found = np.zeros(len(values), bool)
        # Those whose slot held another value on every level so far; an empty slot says no for good.
        asked = None
        for factor, shift, table in self.levels:
            wanted = values if asked is None else values[asked]
            held = table[_slots(wanted, factor, shift)]
            same, is_taken = held == wanted, held != self.empty
            same &= is_taken
            is_taken &= ~same
            rest = np.flatnonzero(is_taken)
            if asked is None:
                found, asked = same, rest
            else:
                found[asked[same]] = True
                asked = asked[rest]
            if not len(asked):
                break
        return found


def _absent(values: np.ndarray) -> np.int64:
    """A number that is not among the values."""
    number = np.int64(-(2**62) - 1)
    while (values == number).any():
        number -= 1
    return number


def _slots(values: np.ndarray, factor: np.uint64, shift: np.uint64) -> np.ndarray:
    return ((values.view(np.uint64) * factor) >> shift).view(np.int64)
