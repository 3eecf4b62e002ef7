"""Where a feature's values come from: columns, other features, constants; in rows or in sequences.

A sequence is computed like a column: its elements, all rows' one after the other, are given to the
same operator, and the lengths of the rows are put back afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.features.values import BadValueError, Rows, fill_empty, first_of_each, is_list, is_text, placed
from tzrec.runtime.errors import UserError

# Before the name of a feature whose output is read like a column.
OUTPUT = "feature:"

# Arrays of N rows, one for each input, and what to call them in an error -> values of N rows.
Operator = Callable[[Sequence[pa.Array], str], Rows]


@dataclass(frozen=True)
class Input:
    """One input of a feature.

    Attributes:
        column: its name among the columns; "feature:NAME" is another feature's output.
        constant: the text itself where the input is no column, else None.
        sequence: whether its rows are sequences.
    """

    column: str = ""
    constant: str | None = None
    sequence: bool = False


@dataclass(frozen=True)
class SequenceShape:
    """How sequences are written.

    Attributes:
        most: keep the first so many elements; 0 keeps all.
        delimiter: between the elements of a sequence in one text.
        filled: an empty sequence has one element, which is missing, so that the default stands there.
    """

    most: int
    delimiter: str
    filled: bool = True

    def counted(self, given: np.ndarray) -> np.ndarray:
        """Elements of sequences that have so many in their column, before they are cut."""
        return np.maximum(given, 1).astype(np.int32) if self.filled else given

    def cut(self, counts: np.ndarray) -> np.ndarray:
        """The elements that are kept of so many."""
        return np.minimum(counts, self.most).astype(np.int32) if self.most else counts


@dataclass(frozen=True)
class Values:
    """What a feature is before it becomes ids or numbers.

    Attributes:
        rows: the values, of N rows, or of E elements in a sequence.
        sequence: int32 [N], elements a row, summing to E; None where it is no sequence.
        given: int32 [N], elements a row as the column has them; see `SparseSequence`.
    """

    rows: Rows
    sequence: np.ndarray | None = None
    given: np.ndarray | None = None

    def without(self, hidden: np.ndarray) -> "Values":
        """The same without the values of hidden rows, bool [N]; elements of sequences stay, empty."""
        if self.sequence is not None:
            hidden = np.repeat(hidden, self.sequence)
        return Values(self.rows.keep(~hidden[self.rows.owners]), self.sequence, self.given)


@dataclass(frozen=True)
class Source:
    """Reads inputs and runs the operator on them.

    Attributes:
        operator: what makes values of the inputs.
        inputs: at least one of them is no constant.
        shape: of the sequence; None where the feature is none.
        spread: the operator's values are themselves the elements of a sequence.
    """

    operator: Operator
    inputs: tuple[Input, ...]
    shape: SequenceShape | None = None
    spread: bool = False

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read, each once."""
        return tuple(dict.fromkeys(one.column for one in self.inputs if one.constant is None))

    def read(self, columns: Mapping[str, pa.Array], where: str) -> Values:
        """The values of a batch.

        Raises:
            BadValueError: sequences of one row that differ in length, or what the operator raises.
        """
        if self.shape is None or self.spread:
            rows = len(columns[self.columns[0]])
            values = self.operator([self._array(one, columns, rows) for one in self.inputs], where)
            return _spread(values, self.shape) if self.spread and self.shape else Values(values)
        elements = {
            one.column: elements_of(columns[one.column], self.shape, f'{where}, column "{one.column}"')
            for one in self.inputs
            if one.sequence
        }
        counts = {name: self.shape.counted(given) for name, (_, given) in elements.items()}
        lengths = self.shape.cut(self._agreed(counts, where))
        # Inputs agree but for empty ones that the default makes one element: the longest was given most.
        given = np.max([given for _, given in elements.values()], axis=0)
        owners = pa.array(np.repeat(np.arange(len(lengths)), lengths))
        arrays = []
        for one in self.inputs:
            if one.sequence:
                arrays.append(elements[one.column][0])
            elif one.constant is None:
                arrays.append(columns[one.column].take(owners))
            else:
                arrays.append(self._array(one, columns, len(owners)))
        with placed(lengths):
            return Values(self.operator(arrays, where), lengths, given)

    @staticmethod
    def _array(one: Input, columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
        if one.constant is None:
            return columns[one.column]
        return pa.repeat(pa.scalar(one.constant, pa.string()), rows)

    @staticmethod
    def _agreed(lengths: Mapping[str, np.ndarray], where: str) -> np.ndarray:
        (first, ours), *others = lengths.items()
        for name, theirs in others:
            if not np.array_equal(ours, theirs):
                row = int(np.flatnonzero(ours != theirs)[0])
                raise BadValueError(
                    f'{where}: "{first}" has {ours[row]} elements and "{name}" has {theirs[row]}; '
                    "sequences of one feature have one length in a row",
                    row,
                )
        return ours


def _spread(values: Rows, shape: SequenceShape) -> Values:
    flat, given = values.flat, values.lengths
    if shape.most:
        places, _ = first_of_each(np.arange(len(flat)), given, shape.most)
        flat = flat.take(pa.array(places))
    lengths = shape.cut(shape.counted(given))
    # An element has one value, but for that of a row without any, which is missing.
    held = np.ones(lengths.sum(), np.int32)
    held[np.repeat(given == 0, lengths)] = 0
    return Values(Rows(flat, held), lengths, given)


def elements_of(column: pa.Array, shape: SequenceShape, where: str) -> tuple[pa.Array, np.ndarray]:
    """The elements that are kept of the sequences of a column, and how many each row was given, int32 [N].

    A text is split at the delimiter, a list gives its items, which may be lists; a number is a
    sequence of one. A null, an empty text and an empty list have no element, or with `filled` one
    that is missing; a null or an empty text between others is an element that is missing, so that
    sequences keep their places.
    """
    elements, given = _given_elements(column, shape, where)
    if shape.most and len(elements) and given.max() > shape.most:
        places, _ = first_of_each(np.arange(len(elements)), given, shape.most)
        elements = elements.take(pa.array(places))
    if shape.filled and len(given) and given.min() == 0:
        places, _ = fill_empty(np.arange(len(elements)), shape.cut(given), np.array([-1]))
        elements = elements.take(pa.array(places, mask=places < 0))
    return elements, given


def _given_elements(column: pa.Array, shape: SequenceShape, where: str) -> tuple[pa.Array, np.ndarray]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_text(kind):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, kind), column)
        column = pc.split_pattern(column, shape.delimiter)
    elif is_list(kind):
        if pa.types.is_fixed_size_list(kind):
            column = column.cast(pa.list_(kind.value_type))
    elif pa.types.is_null(kind):
        return pa.array([], pa.string()), np.zeros(len(column), np.int32)
    elif pa.types.is_nested(kind):
        raise UserError(f"{where}: a column of type {kind} is no sequence; give text, numbers or lists")
    else:
        present = column.is_valid().to_numpy(zero_copy_only=False)
        return column.drop_null(), present.astype(np.int32)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int32)
    return column.flatten(), lengths


def as_column(values: Values) -> pa.Array:
    """Values as a column that another feature reads: lists, and lists of lists for a sequence."""
    column = _lists(values.rows.flat, values.rows.lengths)
    return column if values.sequence is None else _lists(column, values.sequence)


def _lists(flat: pa.Array, lengths: np.ndarray) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
