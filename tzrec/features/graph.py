"""Features that read other features: which columns they need, and their values in one go."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

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
    groups: dict[str, list[str]] = {}
    for feature in features:
        if feature.group:
            groups.setdefault(feature.group, []).append(feature.name)
    return in_step(groups.values(), computed)


def in_step(groups: Iterable[Sequence[str]], computed: Mapping[str, Computed]) -> dict[str, Computed]:
    """What was computed, when sequences that belong together have as many elements in every row.

    They are compared as their columns have them, before they are cut. In FG_NONE one of them may
    have a default for an empty sequence and another none: that one gets an element without values.

    Args:
        groups: names of sequences that belong together; others, and what was not computed, do not count.
        computed: by name.

    Raises:
        BadValueError: the first row where they differ.
    """
    together = dict(computed)
    for names in groups:
        sequences = {
            name: one
            for name in names
            if isinstance(one := together.get(name), SparseSequence | DenseSequence)
        }
        lengths = _common_lengths(sequences)
        for name, sequence in sequences.items():
            if not np.array_equal(sequence.lengths, lengths):
                together[name] = _with_empty_elements(sequence, lengths)
    return together


def _common_lengths(sequences: Mapping[str, SparseSequence | DenseSequence]) -> np.ndarray:
    """int32 [N], the elements of each row that all of the sequences are to have."""
    names, many = list(sequences), list(sequences.values())
    lengths = [one.lengths for one in many]
    given = [one.lengths if one.given is None else one.given for one in many]
    if all(
        np.array_equal(lengths[0], one) and np.array_equal(given[0], had)
        for one, had in zip(lengths, given, strict=True)
    ):
        return lengths[0] if lengths else np.zeros(0, np.int32)
    for name, one in zip(names, lengths, strict=True):
        if len(one) != len(lengths[0]):
            raise UserError(f'"{names[0]}" and "{name}" are sequences of different sides')
    cut, had = np.stack(lengths), np.stack(given)
    nothing = had.max(0) == 0
    # An empty sequence has the one element of its default, where it has one.
    for counts in (np.where(had == 0, cut, had), cut):
        differ = (counts != counts.max(0)).any(0) & ~nothing
        if differ.any():
            row = int(np.flatnonzero(differ)[0])
            other = int(np.flatnonzero(counts[:, row] != counts[0, row])[0])
            raise BadValueError(
                f'"{names[0]}" has {counts[0, row]} elements and "{names[other]}" has {counts[other, row]}; '
                "sequences that belong together have one length in a row",
                row,
            )
    return cut.max(0)


def _with_empty_elements(sequence: SparseSequence | DenseSequence, lengths: np.ndarray) -> Computed:
    """The sequence with an element that has no value where it is empty and `lengths` says 1."""
    places = (np.cumsum(sequence.lengths) - sequence.lengths)[sequence.lengths < lengths]
    if isinstance(sequence, SparseSequence):
        return replace(sequence, key_lengths=np.insert(sequence.key_lengths, places, 0), lengths=lengths)
    return replace(sequence, values=np.insert(sequence.values, places, 0, axis=0), lengths=lengths)
