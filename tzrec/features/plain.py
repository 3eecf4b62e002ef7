"""Operators of one input: its values as they are, with weights, or as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.features.maps import entries_of
from tzrec.features.source import Operator
from tzrec.features.values import Rows, beyond_int64, is_list, numbers, placed, rows_of, text_of


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
    """`k:v` pairs, or a map: ids k with weights v. A value without ":" weighs 1; ":2" is no id.

    An id whose weight is not finite as float32 is lost.

    Attributes:
        separator: between several pairs in one text.
    """

    separator: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        if _is_of_numbers(inputs[0].type):
            # As text a large float would be no integer any more.
            rows = rows_of(inputs[0], self.separator, where)
            return Rows(rows.flat, rows.lengths, np.ones(len(rows.flat), np.float32))
        entries = entries_of(inputs[0], self.separator, ":", where).keyed()
        with placed(entries.lengths):
            weights = numbers(entries.values.fill_null("1"), pa.float32(), f"{where}, the weight")
        rows, wrong = Rows(entries.keys, entries.lengths, weights), ~np.isfinite(weights)
        if not wrong.any():
            return rows
        return rows.leave_out(wrong, pc.binary_join_element_wise(entries.keys, entries.values, ":"))


def _is_of_numbers(kind: pa.DataType) -> bool:
    while is_list(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


@dataclass(frozen=True)
class Turned:
    """What another operator gives, as another type; how its text is hashed follows the type.

    A number that the type does not hold is lost.

    Attributes:
        operator: the other one.
        kind: text, an integer or a float type.
    """

    operator: Operator
    kind: pa.DataType

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        rows = self.operator(inputs, where)
        if pa.types.is_string(self.kind):
            if pa.types.is_floating(rows.flat.type):
                rows = rows.leave_out(~np.isfinite(rows.flat.to_numpy(zero_copy_only=False)))
            return Rows(text_of(rows.flat).cast(self.kind), rows.lengths, rows.weights, rows.lost)
        integer = pa.types.is_integer(self.kind)
        if integer:
            rows = rows.leave_out(beyond_int64(rows.flat))
        with placed(rows.lengths):
            flat = numbers(rows.flat, pa.int64() if integer else pa.float64(), where)
        kind = self.kind.to_pandas_dtype()
        if integer:
            held = np.iinfo(kind)
            wrong = (flat < held.min) | (flat > held.max)
        else:
            wrong = ~(np.abs(flat) <= np.finfo(kind).max)
        rows = rows.leave_out(wrong)
        return Rows(pa.array(flat[~wrong].astype(kind)), rows.lengths, rows.weights, rows.lost)
