"""Whether vectors have collapsed: whether most of them are one vector, so that scores say little."""

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
