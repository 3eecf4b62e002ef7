"""Features that read other features: which columns they need, and their values in one go."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from tzrec.features.feature import Feature, in_order
from tzrec.features.outputs import Computed, DenseSequence, SparseSequence
from tzrec.features.source import OUTPUT
from tzrec.features.values import BadValueError
from tzrec.runtime.errors import UserError


def columns_of(features: Sequence[Feature]) -> list[str]:
    """The columns of the table that the features read, those of features they read included."""
    names = dict.fromkeys(name for feature in in_order(features) for name in feature.source.columns)
    return [name for name in names if not name.startswith(OUTPUT)]


def compute_all(
    features: Sequence[Feature], columns: Mapping[str, pa.Array], hidden: np.ndarray | None = None
) -> dict[str, Computed]:
    """Every feature of a batch, by name; a feature that others read is read once.

    Args:
        features: what to compute.
        columns: those of `columns_of`, N rows each.
        hidden: bool [N], rows in which features with `masked` have no value; None for no row.

    Raises:
        BadValueError: a value that a feature cannot take, sequences of one group that differ in length.
    """
    wanted = {feature.name for feature in features}
    ordered = in_order(features)
    read = {needed.name for feature in ordered for needed in feature.needs}
    columns, computed = dict(columns), {}
    for feature in ordered:
        values = feature.read(columns)
        if feature.name in read:
            columns[OUTPUT + feature.name] = feature.output(values)
        if feature.name in wanted:
            if feature.masked and hidden is not None:
                values = values.without(hidden)
            computed[feature.name] = feature.finish(values)
    groups: dict[str, dict[str, Computed]] = {}
    for feature in features:
        if feature.group:
            groups.setdefault(feature.group, {})[feature.name] = computed[feature.name]
    for together in groups.values():
        check_same_lengths(together)
    return computed


def check_same_lengths(sequences: Mapping[str, Computed]) -> None:
    """Whether sequences that belong together have as many elements in every row.

    Raises:
        BadValueError: the first row where they have not.
    """
    first, ours = "", np.zeros(0, np.int32)
    for name, sequence in sequences.items():
        if not isinstance(sequence, SparseSequence | DenseSequence):
            continue
        if not first:
            first, ours = name, sequence.lengths
        elif not np.array_equal(ours, sequence.lengths):
            if len(ours) != len(sequence.lengths):
                raise UserError(f'"{first}" and "{name}" are sequences of different sides')
            row = int(np.flatnonzero(ours != sequence.lengths)[0])
            raise BadValueError(
                f'"{first}" has {ours[row]} elements and "{name}" has {sequence.lengths[row]}; '
                "sequences that belong together have one length in a row",
                row,
            )
