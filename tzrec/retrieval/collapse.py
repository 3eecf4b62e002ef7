"""Whether vectors have collapsed, so that scores say little; what a search of such vectors looks like."""

import numpy as np

# Vectors that are looked at.
LOOKED_AT = 10_000
# Below this share of distinct ones.
DISTINCT = 0.5
# Nearly one direction: the distance from their mean of vectors of length one, root of the mean square.
SPREAD = 1e-3

CAUSE = "the model has hardly learnt to tell them apart: see its loss, learning rate and temperature"


def collapse(sample: np.ndarray, what: str, repeats: bool = False) -> str:
    """One line that names vectors that have collapsed; "" for those that have not.

    Args:
        sample: float32 [S, D], some of the vectors.
        what: what to call them, such as "item vectors".
        repeats: many rows may have one vector for good reasons.
    """
    sample = sample[:LOOKED_AT]
    count = len(sample)
    if count < 2:
        return ""
    # Adding 0 makes one zero of the two.
    rows = np.ascontiguousarray(sample + np.float32(0)).view(np.dtype((np.void, 4 * sample.shape[1])))
    distinct = len(np.unique(rows))
    if distinct == 1:
        return f"warning: the {what} have collapsed: all {count:,} looked at are equal; {CAUSE}"
    if distinct < DISTINCT * count and not repeats:
        return (
            f"warning: the {what} have largely collapsed: {distinct:,} different ones among {count:,} looked "
            f"at; items with equal features are one to the model, else {CAUSE}"
        )
    wide = sample.astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-300)
    spread = float(np.sqrt(((unit - unit.mean(0)) ** 2).sum(1).mean()))
    if spread < SPREAD:
        return (
            f"warning: the {what} have nearly collapsed: {count:,} looked at point one way but for "
            f"{spread:.1e}; {CAUSE}"
        )
    return ""


def half_tied(scores: np.ndarray) -> np.ndarray:
    """bool [B], rows with an interest of whose K items the last half, or more, have one score.

    Args:
        scores: float32 [B, I, K], nearest first, NaN for an empty slot. Of fewer than 10 it says nothing.
    """
    k = scores.shape[2]
    if k < 10:
        return np.zeros(len(scores), bool)
    return (scores[:, :, k // 2] == scores[:, :, k - 1]).any(1)


def given_short(found: np.ndarray, rows: np.ndarray, slots: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """bool [B], rows with an interest that was given fewer items than it should have been.

    Args:
        found: int64 [B, I, K], positions in the pool, -1 for an empty slot.
        rows, slots: int64 [V], the place in `found` of each vector that was searched for.
        wanted: int64 [B], how many items a row should be given.
    """
    if found.shape[1] == 1:
        slots = np.zeros_like(slots)
    short = np.zeros(len(found), bool)
    # The last one that is wanted is looked at, not all: empty slots are at the end.
    last = wanted[rows] - 1
    np.logical_or.at(short, rows, (last >= 0) & (found[rows, slots, np.maximum(last, 0)] < 0))
    return short
