"""Inputs of a tower that were computed from no table: to see that an exported model runs."""

from collections.abc import Sequence

import numpy as np

from tzrec.features.feature import Feature, IdFeature
from tzrec.features.outputs import Computed, Dense, DenseSequence, Sparse, SparseSequence

# Ids of a random row or element, at most.
MOST = 3


def sample(
    features: Sequence[Feature], elements: Sequence[int], draw: np.random.Generator | None = None
) -> dict[str, Computed]:
    """A value of every feature in every row, by name.

    Args:
        features: of one tower.
        elements: of every sequence in each row; its length is the count of rows.
        draw: makes random ids and numbers; None takes the defaults of the features.
    """
    lengths = np.array(elements, np.int32)
    return {feature.name: _values(feature, lengths, draw) for feature in features}


def _values(feature: Feature, lengths: np.ndarray, draw: np.random.Generator | None) -> Computed:
    count = int(lengths.sum()) if feature.is_sequence else len(lengths)
    if not isinstance(feature, IdFeature):
        numbers = np.tile(feature.default, (count, 1))
        if draw is not None:
            numbers = draw.normal(size=numbers.shape).astype(np.float32)
        return DenseSequence(numbers, lengths) if feature.is_sequence else Dense(numbers)
    if draw is None:
        counts = np.full(count, len(feature.default), np.int32)
        ids = np.tile(feature.default, count)
    else:
        counts = draw.integers(0, MOST + 1, count).astype(np.int32)
        ids = draw.integers(0, feature.table.rows, counts.sum())
    weights = None
    if feature.weighted:
        weights = np.ones(len(ids), np.float32) if draw is None else draw.random(len(ids), np.float32)
    if feature.is_sequence:
        return SparseSequence(ids, counts, lengths, weights)
    return Sparse(ids, counts, weights)
