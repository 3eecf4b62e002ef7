"""Features that read other features: which columns they need, and their values in one go."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from tzrec.features.feature import Feature, in_order
from tzrec.features.outputs import Computed
from tzrec.features.source import OUTPUT


def columns_of(features: Sequence[Feature]) -> list[str]:
    """The columns of the table that the features read, those of features they read included."""
    names = dict.fromkeys(name for feature in in_order(features) for name in feature.source.columns)
    return [name for name in names if not name.startswith(OUTPUT)]


def compute_all(features: Sequence[Feature], columns: Mapping[str, pa.Array]) -> dict[str, Computed]:
    """Every feature of a batch, by name; a feature that others read is read once.

    Args:
        features: what to compute.
        columns: those of `columns_of`, N rows each.
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
            computed[feature.name] = feature.finish(values)
    return computed
