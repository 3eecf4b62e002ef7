"""Operators that put values of several inputs together: every combination, or those a mask lets through."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.features.values import BadValueError, Rows, filled, is_text, rows_of, slots_of, text_of


@dataclass(frozen=True)
class Combo:
    """The cartesian product of the inputs' values, each combination joined by "_", the last input fastest.

    A row that lacks a value of one input has no combination.

    Attributes:
        separator: between several values in one text.
    """

    separator: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        parts = [_worded(rows_of(column, self.separator, where)) for column in inputs]
        lost = [part.lost for part in parts if part.lost is not None]
        lengths = np.prod([part.lengths for part in parts], axis=0, dtype=np.int64)
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        chosen = []
        for part in reversed(parts):
            many = part.lengths[row]
            start = (np.cumsum(part.lengths) - part.lengths)[row]
            texts = text_of(part.flat).cast(pa.string())
            chosen.append(texts.take(pa.array(start + place % np.maximum(many, 1))))
            place = place // np.maximum(many, 1)
        joined = pc.binary_join_element_wise(*reversed(chosen), "_")
        return Rows(joined, lengths.astype(np.int32), lost=pa.concat_arrays(lost) if lost else None)


def _worded(rows: Rows) -> Rows:
    """The values without floats that are not finite: "nan" is no word."""
    if not pa.types.is_floating(rows.flat.type):
        return rows
    return rows.leave_out(~np.isfinite(rows.flat.to_numpy(zero_copy_only=False)))


@dataclass(frozen=True)
class BoolMask:
    """The values where the mask is true, place by place.

    A missing value or mark keeps its place, so that the others stay side by side; a value whose mark
    is missing (null, empty or NaN) is left out.

    Attributes:
        separator: between several values in one text, and between several marks.
    """

    separator: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        values, mask = (slots_of(column, self.separator, where) for column in inputs)
        # A row without values needs no mask; a row without a mask lets nothing through.
        wrong = (values.lengths != mask.lengths) & (values.lengths > 0) & (mask.lengths > 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise BadValueError(
                f"{where}: {values.lengths[row]} values and {mask.lengths[row]} marks in the mask; "
                "give a mark for each value",
                row,
            )
        masked = values.keep((mask.lengths > 0)[values.owners])
        shown = _marks(mask, where)[(values.lengths > 0)[mask.owners]]
        return masked.keep(shown & filled(masked.flat))


def _marks(mask: Rows, where: str) -> np.ndarray:
    flat = mask.flat
    if not is_text(flat.type):
        marks = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return (marks != 0) & ~np.isnan(marks)
    words = pc.utf8_lower(pc.utf8_trim_whitespace(flat))
    true, false = (pc.is_in(words, pa.array(each)) for each in (["true", "1"], ["false", "0"]))
    known = pc.or_(true, false).to_numpy(zero_copy_only=False) | ~filled(flat)
    if not known.all():
        place = int(np.flatnonzero(~known)[0])
        raise BadValueError(
            f'{where}: "{flat[place].as_py()}" is no mark of a mask; give true, false, 1 or 0',
            int(mask.owners[place]),
        )
    return true.to_numpy(zero_copy_only=False)
