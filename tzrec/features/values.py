"""An Arrow column of any type as rows of values: one flat array and a length a row."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.runtime.errors import UserError

# Text that may be a number beyond int64.
_BEYOND = r"(?i)^\s*[+-]?([0-9]{19,}|nan|inf|infinity)\s*$"


class BadValueError(UserError):
    """A value that a feature cannot take.

    Attributes:
        row: where it stands, counted from the first row of what was being read.
    """

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


class placed:  # noqa: N801 - used like a function in a with statement
    """Inside, a BadValueError that counts values comes out as one that counts the rows of these lengths.

    A class, for a generator made into a context manager costs as much as a small feature.
    """

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BadValueError):
            row = int(np.searchsorted(np.cumsum(self.lengths), error.row, side="right"))
            raise BadValueError(str(error), row) from None


@dataclass(frozen=True)
class Rows:
    """The values of a column, row after row.

    Attributes:
        flat: all values, V of them, without nulls.
        lengths: int32 [N], how many of them each row has; they sum to V.
        weights: float32 [V], the weight of each value; None when all are 1.
        lost: text, values that were left out because no feature can take them; None for none.
    """

    flat: pa.Array
    lengths: np.ndarray
    weights: np.ndarray | None = None
    lost: pa.Array | None = None

    @property
    def owners(self) -> np.ndarray:
        """int64 [V], the row of each value."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def keep(self, kept: np.ndarray) -> "Rows":
        """Only the values with `kept`, bool [V]."""
        weights = None if self.weights is None else self.weights[kept]
        return Rows(self.flat.filter(pa.array(kept)), count_kept(kept, self.lengths), weights, self.lost)

    def leave_out(self, wrong: np.ndarray, shown: pa.Array | None = None) -> "Rows":
        """The others become missing: those that are `wrong`, bool [V], are added to `lost`.

        Args:
            wrong: bool [V].
            shown: [V], how the values are called there; the values themselves when None.
        """
        if not wrong.any():
            return self
        rows = self.keep(~wrong)
        left = text_of((self.flat if shown is None else shown).filter(pa.array(wrong))).cast(pa.string())
        lost = left if self.lost is None else pa.concat_arrays([self.lost, left])
        return Rows(rows.flat, rows.lengths, rows.weights, lost)


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def text_of(flat: pa.Array) -> pa.Array:
    """The values as text; nulls stay.

    An integer is written in decimal notation, and so is a float that is one below 2^53, so that the same
    ids are the same text in either type; Arrow would write 1e+10.
    """
    if pa.types.is_dictionary(flat.type):
        flat = flat.dictionary_decode()
    if is_text(flat.type):
        return flat
    texts = flat.cast(pa.string())
    if not pa.types.is_floating(flat.type):
        return texts
    values = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
    whole = (np.abs(values) < 2.0**53) & (np.trunc(values) == values)
    if not whole.any():
        return texts
    integers = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
    return pc.if_else(pa.array(whole), integers, texts)


def rows_of(column: pa.Array, separator: str, where: str) -> Rows:
    """Splits a column into values: a null, an empty text and an empty list have none.

    Args:
        column: numbers, text, or lists of these; dictionary-encoded and large types too. [N]
        separator: what stands between several values in one text.
        where: what to call the column in an error.

    Raises:
        UserError: a column type that has no values in this sense, such as a map.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_text(kind):
        return _split_text(column, separator)
    if is_list(kind):
        return _from_lists(column, where)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        lengths = np.ones(len(column), np.int32)
        if column.null_count:
            lengths = column.is_valid().to_numpy(zero_copy_only=False).astype(np.int32)
            column = column.drop_null()
        return Rows(column, lengths)
    if pa.types.is_null(kind):
        return Rows(pa.array([], pa.string()), np.zeros(len(column), np.int32))
    raise UserError(f"{where}: a column of type {kind} has no values; give numbers, text or lists of these")


def _split_text(column: pa.Array, separator: str) -> Rows:
    if separator and pc.any(pc.match_substring(column, separator)).as_py():
        return _from_lists(pc.split_pattern(column, separator), "")
    present = pc.fill_null(pc.not_equal(column, ""), False)
    lengths = present.to_numpy(zero_copy_only=False).astype(np.int32)
    return Rows(column if lengths.all() else column.filter(present), lengths)


def slots_of(column: pa.Array, separator: str, where: str) -> Rows:
    """Like `rows_of`, but a null or an empty text between others keeps its place: `flat` may hold them."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type) and separator:
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
        column = pc.split_pattern(column, separator)
    return Rows(*_slots(column, where)) if is_list(column.type) else rows_of(column, separator, where)


def filled(flat: pa.Array) -> np.ndarray:
    """bool [V], where there is a value: neither null nor an empty text."""
    kept = pc.fill_null(pc.not_equal(flat, ""), False) if is_text(flat.type) else flat.is_valid()
    return kept.to_numpy(zero_copy_only=False)


def _from_lists(column: pa.Array, where: str) -> Rows:
    flat, lengths = _slots(column, where)
    kept = filled(flat)
    if not kept.all():
        lengths = count_kept(kept, lengths)
        flat = flat.filter(pa.array(kept))
    return Rows(flat, lengths)


def _slots(column: pa.Array, where: str) -> tuple[pa.Array, np.ndarray]:
    """The items of lists, nulls and empty texts too, and how many each row has, int32 [N]."""
    if pa.types.is_fixed_size_list(column.type):
        # flatten of a fixed-size list drops null rows of some and keeps others' places: one kind only.
        column = column.cast(pa.list_(column.type.value_type))
    # list_value_length and flatten heed the offset of a sliced array and skip null rows.
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int32)
    flat = column.flatten()
    if pa.types.is_dictionary(flat.type):
        flat = flat.dictionary_decode()
    if pa.types.is_nested(flat.type):
        raise UserError(f"{where}: a column of type {column.type} where a row has one list of values")
    return flat, lengths


def count_kept(kept: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The lengths that remain when only the values with `kept` stay.

    Args:
        kept: bool [V].
        lengths: int32 [N], summing to V.

    Returns:
        int32 [N].
    """
    before = np.concatenate([[0], np.cumsum(kept)])
    ends = np.cumsum(lengths)
    return (before[ends] - before[ends - lengths]).astype(np.int32)


def first_of_each(flat: np.ndarray, lengths: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Keeps the first `most` values of each row: (flat, lengths)."""
    if not len(flat) or lengths.max() <= most:
        return flat, lengths
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return flat[np.arange(len(flat)) - starts < most], np.minimum(lengths, most)


def fill_empty(flat: np.ndarray, lengths: np.ndarray, filling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives every row without values those of `filling`: (flat, lengths).

    Args:
        flat: [V] values.
        lengths: int32 [N].
        filling: [F] values of the same type; nothing happens when F is 0.
    """
    if not len(filling) or not len(lengths) or lengths.min() > 0:
        return flat, lengths
    empty = lengths == 0
    full = np.where(empty, len(filling), lengths).astype(np.int32)
    out = np.empty(full.sum(), flat.dtype)
    is_filling = np.repeat(empty, full)
    out[~is_filling] = flat
    out[is_filling] = np.tile(filling, int(empty.sum()))
    return out, full


def numbers(flat: pa.Array, kind: pa.DataType, where: str) -> np.ndarray:
    """The values as int64, float32 or float64; a number beyond float32 is infinite there.

    As int64 a number that int64 does not hold, one that is not finite too, is negative: it lies
    outside every bucket. `beyond_int64` tells which they are.

    Args:
        flat: numbers, or text that spells numbers, in decimal notation.
        kind: pa.int64(), pa.float32() or pa.float64().
        where: what to call the column in an error.

    Raises:
        BadValueError: a text that is no number, a number that is no integer; the message shows the first one.
    """
    if pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())
    if is_text(flat.type):
        flat = pc.utf8_trim_whitespace(flat)
    elif pa.types.is_integer(kind) and pa.types.is_floating(flat.type):
        whole = flat.to_numpy(zero_copy_only=False)
        fraction = (np.trunc(whole) != whole) & ~np.isnan(whole)
        if fraction.any():
            place = int(np.flatnonzero(fraction)[0])
            raise BadValueError(f"{where}: {whole[place]} is no integer; give ids as integers", place)
        return np.where(beyond_int64(flat), -1, whole).astype(np.int64)
    elif not pa.types.is_integer(flat.type) and not pa.types.is_floating(flat.type):
        raise BadValueError(f"{where}: {flat.type} is no number; give numbers or text", 0)
    if flat.type == kind:
        return flat.to_numpy(zero_copy_only=False)
    if not is_text(flat.type):
        return _of_numbers(flat, kind)
    try:
        return _of_text(flat, kind)
    except pa.ArrowInvalid:
        pass
    # Arrow takes no plus sign, and no integer beyond its type.
    read = pc.replace_substring_regex(flat, r"^\+([0-9.])", r"\1")
    if pa.types.is_integer(kind):
        beyond = pa.array(beyond_int64(read))
        read = pc.if_else(beyond, pa.scalar("-1", read.type), read)
    try:
        return _of_text(read, kind)
    except pa.ArrowInvalid:
        place = next(i for i, text in enumerate(read.to_pylist()) if not _is_number(text, kind))
        name = "an integer" if pa.types.is_integer(kind) else "a number"
        raise BadValueError(f'{where}: "{flat[place].as_py()}" is not {name}', place) from None


def _of_numbers(flat: pa.Array, kind: pa.DataType) -> np.ndarray:
    if kind == pa.float32() and pa.types.is_integer(flat.type):
        # Rounded as the text of the integer would be.
        return as_float32(flat.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return flat.cast(kind, safe=False).to_numpy(zero_copy_only=False)


def _of_text(texts: pa.Array, kind: pa.DataType) -> np.ndarray:
    if kind == pa.float32():
        return as_float32(texts.cast(pa.float64()).to_numpy(zero_copy_only=False))
    read = texts.cast(kind).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind) and _has_hexadecimals(texts):
        raise pa.ArrowInvalid("hexadecimal")
    return read


def beyond_int64(flat: pa.Array) -> np.ndarray:
    """bool [V], which values are numbers that int64 does not hold: too large, infinite, NaN.

    Args:
        flat: numbers, or text; a text that is no number is none that is beyond.
    """
    if pa.types.is_floating(flat.type):
        return ~(np.abs(flat.to_numpy(zero_copy_only=False)) < 2.0**62)
    if pa.types.is_uint64(flat.type):
        return flat.to_numpy(zero_copy_only=False) >= 2**63
    beyond = np.zeros(len(flat), bool)
    if is_text(flat.type):
        long = pc.match_substring_regex(flat, _BEYOND).to_numpy(zero_copy_only=False)
        for place in np.flatnonzero(long).tolist():
            digits = flat[place].as_py().strip().lstrip("+-").lstrip("0")
            least = flat[place].as_py().strip().startswith("-")
            # int() refuses thousands of digits.
            beyond[place] = len(digits) > 19 or not digits.isdigit() or int(digits) >= 2**63 + least
    return beyond


def as_float32(values: np.ndarray) -> np.ndarray:
    """Floats as float32; what is beyond its range becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _has_hexadecimals(integers: pa.Array) -> bool:
    """Whether one of the texts, all of which Arrow takes for integers, is 0x10: it reads that as 16."""
    decimal = pc.all(pc.ascii_is_decimal(integers)).as_py()
    return not decimal and pc.any(pc.match_substring(integers, "x", ignore_case=True)).as_py() is True


def _is_number(text: str, kind: pa.DataType) -> bool:
    single = pa.array([text])
    try:
        single.cast(kind)
    except pa.ArrowInvalid:
        return False
    return not (pa.types.is_integer(kind) and _has_hexadecimals(single))
