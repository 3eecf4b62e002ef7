"""Walker's alias table: a weighted draw in constant time, whatever the number of items.

Built in vectorised passes after the sweeping order of Hübschle-Schneider and Sanders
("Parallel Weighted Random Sampling", ESA 2019): light items, below the mean weight, take what
they lack from heavy ones in order, and a heavy item that falls below the mean takes from the next.
"""

import numpy as np

from tzrec.datasets.bounded import Allocate, chunks, in_memory


def bucket_type(items: int) -> np.dtype:
    """What a bucket of the table is; threshold and alias side by side, for one draw needs both.

    A float32 threshold is within 6e-8 of its value, however small, because `draw` compares it
    with a float64: so is the probability of each item.
    """
    return np.dtype([("threshold", "<f4"), ("alias", "<i4" if items < 2**31 else "<i8")], align=True)


def build_alias(weights: np.ndarray, allocate: Allocate = in_memory) -> tuple[np.ndarray, np.ndarray]:
    """The table for `draw`.

    Args:
        weights: float64 [N], not negative, one at least positive; any that are finite.
        allocate: where the table ("buckets") and the working arrays (12 bytes an item) lie;
            what is in memory besides is a chunk of each.

    Returns:
        threshold float32 [N] and alias int32 or int64 [N], the fields of records of `bucket_type`:
        bucket i stands for item i with probability
        threshold[i], else for item alias[i]. An item of weight 0 has threshold 0 and is
        nobody's alias.
    """
    items = len(weights)
    share = _Shares(weights)
    index = np.dtype(np.int32 if items < 2**31 else np.int64)
    buckets = allocate("buckets", items, bucket_type(items))
    heavy_count = 0
    for rows in chunks(items):
        buckets["threshold"][rows] = 1
        buckets["alias"][rows] = np.arange(rows.start, rows.stop)
        heavy_count += int(np.count_nonzero(share.is_heavy(rows)))
    light = allocate("light", items - heavy_count, index)
    heavy = allocate("heavy", heavy_count, index)
    # lacking[i]: what the light items before the i-th lack. spare[j]: what the heavy ones up to
    # the j-th, with it, have beyond their own bucket.
    lacking = allocate("lacking", items - heavy_count + 1, np.dtype(np.float64))
    spare = allocate("spare", heavy_count, np.dtype(np.float64))
    lacking[0] = 0
    _divide(share, light, heavy, lacking, spare)
    for places in chunks(len(light)):
        # Light item i is filled by the first heavy one that still has more than its own bucket.
        filler = np.searchsorted(spare, lacking[places], side="right")
        chosen = light[places]
        buckets["threshold"][chosen] = share[chosen]
        buckets["alias"][chosen] = heavy[np.minimum(filler, heavy_count - 1)]
    for places in chunks(heavy_count - 1):
        # Heavy item j closes its own bucket when the light ones have eaten its spare weight.
        ends = spare[places]
        closing = np.minimum(np.searchsorted(lacking, ends, side="left"), len(light))
        eaten = np.clip(lacking[closing] - ends, 0, 1)
        chosen = heavy[places]
        buckets["threshold"][chosen] = 1 - eaten
        buckets["alias"][chosen] = heavy[places.start + 1 : places.stop + 1]
    return buckets["threshold"], buckets["alias"]


class _Shares:
    """Weights over their mean; a chunk or a choice of them at a time."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights
        best = [rows.start + int(np.argmax(weights[rows])) for rows in chunks(len(weights))]
        # The heaviest counts as heavy: equal weights can all be rounded to just below the mean.
        self.heaviest = max(best, key=lambda row: weights[row])
        # Over the greatest first, so that no sum of finite weights is infinite.
        self.peak = float(weights[self.heaviest])
        sums = (float((weights[rows] / self.peak).sum()) for rows in chunks(len(weights)))
        self.mean = sum(sums) / len(weights)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.weights[rows] / self.peak / self.mean

    def is_heavy(self, rows: slice) -> np.ndarray:
        heavy = self[rows] >= 1
        if rows.start <= self.heaviest < rows.stop:
            heavy[self.heaviest - rows.start] = True
        return heavy


def _divide(
    share: _Shares, light: np.ndarray, heavy: np.ndarray, lacking: np.ndarray, spare: np.ndarray
) -> None:
    lights, heavies = _Running(light, lacking[1:]), _Running(heavy, spare)
    for rows in chunks(len(share.weights)):
        beyond, is_heavy = share[rows] - 1, share.is_heavy(rows)
        for running, kind in ((lights, ~is_heavy), (heavies, is_heavy)):
            chosen = np.flatnonzero(kind)
            running.extend(chosen + rows.start, np.abs(beyond[chosen]))


class _Running:
    """Fills an array of rows, and beside it one of the running sums of their amounts."""

    def __init__(self, rows: np.ndarray, sums: np.ndarray) -> None:
        self.rows, self.sums = rows, sums
        self.filled, self.total = 0, 0.0

    def extend(self, rows: np.ndarray, amounts: np.ndarray) -> None:
        place = slice(self.filled, self.filled + len(rows))
        self.rows[place] = rows
        # Summed within the chunk first: one running sum over 10^8 items would lose digits.
        self.sums[place] = np.cumsum(amounts) + self.total
        self.total = float(self.sums[place][-1]) if len(rows) else self.total
        self.filled = place.stop


def draw(threshold: np.ndarray, alias: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` items with replacement, each with probability proportional to its weight: int64 [count]."""
    bucket = generator.integers(0, len(threshold), count)
    # Indexed, not np.take: that would first copy the whole of an array with gaps, as these are.
    own = generator.random(count) < threshold[bucket]
    return np.where(own, bucket, alias[bucket])
