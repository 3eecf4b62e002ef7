"""Walker's alias table: a weighted draw in constant time, whatever the number of items.

Built in one vectorised pass after the sweeping order of Hübschle-Schneider and Sanders
("Parallel Weighted Random Sampling", ESA 2019): light items, below the mean weight, take what
they lack from heavy ones in order, and a heavy item that falls below the mean takes from the next.
"""

import numpy as np


def build_alias(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The table for `draw`.

    Args:
        weights: float64 [N], not negative, with a positive sum.

    Returns:
        threshold float32 [N] and alias int64 [N]: bucket i stands for item i with
        probability threshold[i], else for item alias[i]. An item of weight 0 has threshold 0
        and is nobody's alias.
    """
    share = weights * (len(weights) / weights.sum())
    threshold = np.ones(len(weights), np.float64)
    alias = np.arange(len(weights), dtype=np.int64)
    is_heavy = share >= 1
    is_heavy[np.argmax(share)] = True  # Equal weights can all be rounded to just below the mean.
    light, heavy = np.flatnonzero(~is_heavy), np.flatnonzero(is_heavy)
    if len(light):
        lacking = np.concatenate([[0.0], np.cumsum(1 - share[light])])
        spare = np.cumsum(share[heavy] - 1)
        last = len(heavy) - 1
        # Light item i is filled by the first heavy one that still has more than its own bucket.
        filler = np.minimum(np.searchsorted(spare, lacking[:-1], side="right"), last)
        threshold[light], alias[light] = share[light], heavy[filler]
        # Heavy item j closes its own bucket when the light ones have eaten its spare weight.
        closing = np.searchsorted(lacking, spare[:-1], side="left")
        eaten = lacking[np.minimum(closing, len(light))] - spare[:-1]
        threshold[heavy[:-1]], alias[heavy[:-1]] = 1 - np.maximum(eaten, 0), heavy[1:]
    return np.clip(threshold, 0, 1).astype(np.float32), alias


def draw(threshold: np.ndarray, alias: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` items with replacement, each with probability proportional to its weight: int64 [count]."""
    bucket = generator.integers(0, len(threshold), count)
    own = generator.random(count, np.float32) < threshold[bucket]
    return np.where(own, bucket, alias[bucket])
