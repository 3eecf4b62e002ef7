"""Operators of one input: its values as they are, with weights, or as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tzrec.features.maps import entries_of
from tzrec.features.source import Operator
from tzrec.features.values import Rows, numbers, placed, rows_of


@dataclass(frozen=True)
class Plain:
    """The values of the input, as id_feature and raw_feature take them.

    Attributes:
        separator: between several values in one text.
    """

    separator: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        return rows_of(inputs[0], self.separator, where)


@dataclass(frozen=True)
class Weighted:
    """`k:v` pairs, or a map: ids k with weights v. A value without ":" weighs 1.

    Attributes:
        separator: between several pairs in one text.
    """

    separator: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        entries = entries_of(inputs[0], self.separator, ":", where)
        with placed(entries.lengths):
            weights = numbers(entries.values.fill_null("1"), pa.float32(), f"{where}, the weight")
        return Rows(entries.keys, entries.lengths, weights)


@dataclass(frozen=True)
class Turned:
    """What another operator gives, as another type; how its text is hashed follows the type.

    Attributes:
        operator: the other one.
        kind: text, an integer or a float type.
    """

    operator: Operator
    kind: pa.DataType

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        rows = self.operator(inputs, where)
        if pa.types.is_string(self.kind):
            return Rows(rows.flat.cast(self.kind), rows.lengths, rows.weights)
        with placed(rows.lengths):
            read_as = pa.int64() if pa.types.is_integer(self.kind) else pa.float64()
            flat = numbers(rows.flat, read_as, where)
        return Rows(pa.array(flat).cast(self.kind, safe=False), rows.lengths, rows.weights)
