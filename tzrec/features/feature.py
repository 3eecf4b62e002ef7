"""A feature: where its values come from, and how they become ids of a table or numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from tzrec.features.bucketize import Bucketizer
from tzrec.features.normalize import Normalizer, normalized
from tzrec.features.outputs import (
    Dense,
    DenseEmbedding,
    DenseSequence,
    Outside,
    Sparse,
    SparseSequence,
    Table,
)
from tzrec.features.source import Source, Values, as_column
from tzrec.features.values import (
    BadValueError,
    Rows,
    fill_empty,
    first_of_each,
    numbers,
    placed,
    rows_of,
    text_of,
)

SHOWN = 8  # values of a row in an error


@dataclass(frozen=True, kw_only=True)
class _Feature:
    """What both kinds of features have.

    Attributes:
        name: of the feature.
        source: where its values come from.
        separator: between several values in one text.
        needs: features whose output it reads.
        stub: computed for other features only, not given to the model.
        masked: training may take it away from some rows.
        group: the sequence_feature that it stands in; "" for none.
    """

    name: str
    source: Source
    separator: str
    needs: "tuple[Feature, ...]" = ()
    stub: bool = False
    masked: bool = False
    group: str = ""
    outside: Outside = field(default_factory=Outside, compare=False, repr=False)

    @cached_property
    def where(self) -> str:
        """What to call the feature in an error."""
        names = ", ".join(f'"{name}"' for name in self.source.columns)
        return f'feature "{self.name}", column {names}'

    @cached_property
    def is_sequence(self) -> bool:
        return self.source.shape is not None

    def read(self, columns: Mapping[str, pa.Array]) -> Values:
        """The values before they become ids or numbers; see `Source.read`."""
        values = self.source.read(columns, self.where)
        if values.rows.lost is not None:
            self.outside.add(values.rows.lost)
        return values

    def check_width(self, rows: Rows, width: int) -> None:
        """Raises BadValueError when a row that is not empty has another count of values than `width`."""
        wrong = (rows.lengths != 0) & (rows.lengths != width)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            start, count = int(rows.lengths[:row].sum()), int(rows.lengths[row])
            shown = ", ".join(rows.flat[start : start + min(count, SHOWN)].cast(pa.string()).to_pylist())
            raise BadValueError(
                f"{self.where}: {'an element' if self.is_sequence else 'a row'} has {count} values "
                f"({shown}{', ...' if count > SHOWN else ''}), value_dim says {width}; "
                "give as many (a null or an empty text in a list is no value) or set value_dim",
                row,
            )


@dataclass(frozen=True, kw_only=True)
class IdFeature(_Feature):
    """Values as ids of an embedding table, pooled into one vector a row, or an element of a sequence.

    Attributes:
        table: that it looks up.
        pooling: "sum" or "mean" over the values; the mean of weighted ones is their sum over their count.
        bucketizer: from values to ids; -1 is no id.
        default: int64 [F], the ids of a row, or an element, that has none.
        default_text: the same as text, for features that read this one.
        most: keep the first so many values; 0 keeps all.
        exact: they are numbers that belong together: another count than `most` is an error, and a row
            that lacks one of them lacks all.
        weighted: its values have weights.
        normalizer: that the bucketizer begins with, for features that read this one.
    """

    table: Table
    pooling: str
    bucketizer: Bucketizer
    default: np.ndarray
    default_text: str = ""
    most: int = 0
    exact: bool = False
    weighted: bool = False
    normalizer: Normalizer | None = None

    @property
    def width(self) -> int:
        """Floats that the feature adds to the input of a tower."""
        return self.table.dim

    def compute(self, columns: Mapping[str, pa.Array]) -> Sparse | SparseSequence:
        """The ids of a batch.

        Args:
            columns: has those of `source`, N rows each.

        Raises:
            BadValueError: a value that the operator or the bucketizer does not take.
        """
        return self.finish(self.read(columns))

    def finish(self, values: Values) -> Sparse | SparseSequence:
        """The ids of values that were read."""
        if values.sequence is None:
            return self._ids(values.rows)
        with placed(values.sequence):
            ids = self._ids(values.rows)
        return SparseSequence(ids.values, ids.lengths, values.sequence, ids.weights, values.given)

    def _ids(self, rows: Rows) -> Sparse:
        if self.exact:
            self.check_width(rows, self.most)
        with placed(rows.lengths):
            ids = self.bucketizer(rows.flat, self.where)
        lengths, weights = rows.lengths, rows.weights
        if len(ids) and ids.min() < 0:
            missing = ids < 0
            self.outside.add(rows.flat.filter(pa.array(missing)))
            if self.exact:
                missing = np.isin(rows.owners, rows.owners[missing])
            lengths = lengths - np.bincount(rows.owners[missing], minlength=len(lengths)).astype(np.int32)
            ids = ids[~missing]
            weights = None if weights is None else weights[~missing]
        if self.most:
            whole = lengths
            ids, lengths = first_of_each(ids, whole, self.most)
            weights = None if weights is None else first_of_each(weights, whole, self.most)[0]
        if weights is not None:
            weights, _ = fill_empty(weights, lengths, np.ones(len(self.default), np.float32))
        elif self.weighted:
            raise AssertionError(f"{self.name}: a weighted feature read no weights")
        return Sparse(*fill_empty(ids, lengths, self.default), weights)

    def output(self, values: Values) -> pa.Array:
        """Values that were read as a column for other features: the default stands in for missing ones."""
        rows = values.rows
        if self.normalizer:
            with placed(rows.lengths):
                normal = self.normalizer(numbers(rows.flat, pa.float64(), self.where))
            rows = Rows(pa.array(normal), rows.lengths).keep(np.isfinite(normal))
        if self.default_text:
            # The default stands behind the normalizer.
            default = rows_of(pa.array([self.default_text]), self.separator, self.where).flat
            if self.exact and len(default) == 1:
                default = pa.concat_arrays([default] * self.most)
            flat = rows.flat
            if self.normalizer:
                default = pa.array(numbers(default, pa.float64(), self.where))
            else:
                flat = text_of(flat).cast(pa.string())
            rows = _filled(Rows(flat, rows.lengths), default)
        return as_column(Values(rows, values.sequence))


@dataclass(frozen=True, kw_only=True)
class RawFeature(_Feature):
    """Numbers, given to the tower as they are or through a dense embedding.

    Attributes:
        value_dim: numbers a row, or an element of a sequence.
        default: float32 [value_dim], where there is no value; behind the normalizer.
        normalizer: what is done to the numbers; None for nothing.
        embedding: makes a vector of them; None gives them as they are.
    """

    value_dim: int
    default: np.ndarray
    normalizer: Normalizer | None = None
    embedding: DenseEmbedding | None = None

    @property
    def width(self) -> int:
        """Floats that the feature adds to the input of a tower."""
        if self.embedding is None:
            return self.value_dim
        return self.embedding.dim * (self.value_dim if self.embedding.channels else 1)

    def compute(self, columns: Mapping[str, pa.Array]) -> Dense | DenseSequence:
        """The numbers of a batch.

        Args:
            columns: has those of `source`, N rows each.

        Raises:
            BadValueError: a text that is no number, a row with another count of numbers than `value_dim`.
        """
        return self.finish(self.read(columns))

    def finish(self, values: Values) -> Dense | DenseSequence:
        """The numbers of values that were read."""
        if values.sequence is None:
            return Dense(self._numbers(values.rows))
        with placed(values.sequence):
            return DenseSequence(self._numbers(values.rows), values.sequence, values.given)

    def _numbers(self, rows: Rows) -> np.ndarray:
        kind = pa.float64() if self.normalizer else pa.float32()
        with placed(rows.lengths):
            flat = numbers(rows.flat, kind, self.where)
        lengths = rows.lengths
        self.check_width(rows, self.value_dim)
        finite = np.isfinite(flat)
        if self.normalizer is not None:
            flat = normalized(self.normalizer, flat)
            finite &= np.isfinite(flat)
        if not finite.all():
            # Not a number, infinite: no vector survives it, so the row counts as missing.
            self.outside.add(rows.flat.filter(pa.array(~finite)))
            whole = np.ones(len(lengths), bool)
            whole[rows.owners[~finite]] = False
            flat, lengths = flat[np.repeat(whole, lengths)], np.where(whole, lengths, 0)
        flat, _ = fill_empty(flat, lengths, self.default)
        return np.ascontiguousarray(flat, np.float32).reshape(-1, self.value_dim)

    def output(self, values: Values) -> pa.Array:
        """The numbers as a column for other features."""
        flat = pa.array(self._numbers(values.rows).reshape(-1))
        lengths = np.full(len(values.rows.lengths), self.value_dim, np.int32)
        return as_column(Values(Rows(flat, lengths), values.sequence))


Feature = IdFeature | RawFeature


def _filled(rows: Rows, default: pa.Array) -> Rows:
    """Rows with these values where there are none."""
    places, lengths = fill_empty(
        np.arange(len(rows.flat)), rows.lengths, np.arange(len(default)) + len(rows.flat)
    )
    flat = pa.concat_arrays([rows.flat, default.cast(rows.flat.type)])
    return Rows(flat.take(pa.array(places)), lengths)


def in_order(features: Sequence[Feature]) -> list[Feature]:
    """The features and all that they read, each once, behind what it reads."""
    ordered: dict[str, Feature] = {}

    def add(feature: Feature) -> None:
        if feature.name not in ordered:
            for needed in feature.needs:
                add(needed)
            ordered[feature.name] = feature

    for feature in features:
        add(feature)
    return list(ordered.values())


def outside_lines(features: Sequence[Feature], purpose: str = "") -> list[str]:
    """One line a feature that met values it could not take since the last call.

    Args:
        features: and those that they read.
        purpose: of the rows, as `counted_as` had it; the lines begin with it.
    """
    begin = f"{purpose}: " if purpose else ""
    lines = []
    for feature in in_order(features):
        count, example = feature.outside.take(purpose)
        if not count:
            continue
        what = "not finite"
        if isinstance(feature, IdFeature):
            what = f"outside its {feature.table.rows} buckets, beyond its type or not finite"
        lines.append(
            f'{begin}feature "{feature.name}": {count} values {what} were taken as missing '
            f"(one of them: {example})"
        )
    return lines
