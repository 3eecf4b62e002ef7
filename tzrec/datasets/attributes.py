"""Texts of a table as columns of the types that the training table has, or an error with the line."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.datasets.files import DataFile
from tzrec.features.values import is_list, is_text, text_of
from tzrec.runtime.errors import UserError

MULTI_VALUE = "\x1d"
# Between the lists in a list of lists, as between the elements of a sequence.
OUTER = ";"
# Between the key and the value of an entry of a map.
KEY_VALUE = ":"
INTEGER = r"^[+-]?[0-9]+$"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
TRUTHS = ("0", "1", "false", "true")
SHOWN = 80  # characters of what was found
FOUND = "{}"


@dataclass(frozen=True)
class AttributeType:
    """What an attribute becomes.

    Attributes:
        name: of the training column.
        type: of the training column, Arrow.
        separator: between several values in a text of that column.
        encoded_separator: a second one, of FG_NONE; "" for none.
    """

    name: str
    type: pa.DataType
    separator: str
    encoded_separator: str = ""


@dataclass(frozen=True)
class Place:
    """Turns the number of a row into a place for a message.

    Attributes:
        file: that holds the rows.
        first: what the first row is called: its line number.
        word: "row " where rows are counted and not lines.
        rows: int64 [V], for values of which a row has several: the row of each.
    """

    file: DataFile
    first: int
    word: str = ""
    rows: np.ndarray | None = None

    def of(self, row: int) -> str:
        row = row if self.rows is None else int(self.rows[row])
        return f"{self.file}:{self.word}{row + self.first}"

    def spread(self, lengths: np.ndarray) -> "Place":
        """For the values of rows that have so many each."""
        rows = np.arange(len(lengths)) if self.rows is None else self.rows
        return Place(self.file, self.first, self.word, np.repeat(rows, lengths))


def refuse(wrong: pa.Array, column: pa.Array, place: Place, message: str) -> None:
    """Raises a UserError at the first row that is `wrong`; "{}" in `message` becomes what stands there."""
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise UserError(f"{place.of(row)}: {message.replace(FOUND, _shown(column[row].as_py()))}")


def _shown(value: object) -> str:
    return repr(value[:SHOWN] if isinstance(value, str) else value)


def split_attributes(
    column: pa.Array, delimiter: str, types: Sequence[AttributeType], place: Place
) -> list[pa.Array]:
    """The attributes of every row, each as its training column's type.

    Args:
        column: text [N], attributes joined by `delimiter`.
        delimiter: one or more characters.
        types: of the attributes, in their order.
        place: of the rows.

    Raises:
        UserError: a row with another number of attributes, a value that is not of its type.
    """
    refuse(column.is_null(), column, place, "the attributes are {}; give a text")
    parts = pc.split_pattern(column, delimiter)
    counts = pc.list_value_length(parts)
    wrong = pc.not_equal(counts, len(types))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise UserError(
            f"{place.of(row)}: {counts[row].as_py()} attributes where attr_fields names {len(types)} "
            f"({', '.join(kind.name for kind in types)}): {_shown(column[row].as_py())}; "
            f"attr_delimiter is {delimiter!r}"
        )
    return [from_text(pc.list_element(parts, at), kind, place) for at, kind in enumerate(types)]


def from_text(texts: pa.Array, kind: AttributeType, place: Place) -> pa.Array:
    """Texts as values of the attribute's type: "" is null for a number, no value for a list or a map.

    Raises:
        UserError: a text that is not of the type or out of its range.
    """
    if is_text(kind.type):
        if kind.separator != MULTI_VALUE:
            texts = pc.replace_substring(texts, MULTI_VALUE, kind.separator)
        return texts.cast(kind.type)
    name = f'attribute "{kind.name}": '
    inner = "|".join(re.escape(one) for one in (MULTI_VALUE, kind.encoded_separator) if one)
    return _convert(texts, kind.type, inner, name, place)


def _convert(texts: pa.Array, kind: pa.DataType, separator: str, name: str, place: Place) -> pa.Array:
    if is_text(kind):
        return texts.cast(kind)
    if pa.types.is_map(kind):
        offsets, entries, place = _split(texts, separator, place)
        refuse(
            pc.invert(pc.match_substring(entries, KEY_VALUE)),
            entries,
            place,
            f"{name}{{}} is no entry of a map; write key{KEY_VALUE}value",
        )
        # At most one split, so that a value may hold the character.
        pairs = pc.split_pattern(entries, KEY_VALUE, max_splits=1)
        keys, values = pc.list_element(pairs, 0), pc.list_element(pairs, 1)
        return pa.MapArray.from_arrays(
            offsets,
            required(number(keys, kind.key_type, name, place), place, f"{name}a key of a map"),
            number(values, kind.item_type, name, place),
            kind,
        )
    if is_list(kind):
        nested = is_list(kind.value_type)
        offsets, flat, places = _split(texts, re.escape(OUTER) if nested else separator, place)
        values = _convert(flat, kind.value_type, separator, name, places)
        lists = pa.ListArray.from_arrays(offsets, values)
        if pa.types.is_fixed_size_list(kind):
            counts = pc.list_value_length(lists)
            wrong = pc.and_(pc.not_equal(counts, kind.list_size), pc.not_equal(counts, 0))
            what = f"{name}{{}} is not {kind.list_size} values, which {kind} holds"
            refuse(wrong, texts, place, what)
            # No value is a list that is missing: an empty one would have the wrong length.
            lists = pc.if_else(pc.equal(counts, 0), pa.scalar(None, lists.type), lists)
        return lists.cast(kind)
    return number(texts, kind, name, place)


def required(values: pa.Array, place: Place, what: str) -> pa.Array:
    """The values, of which none may be null."""
    refuse(values.is_null(), values, place, f"{what} is missing")
    return values


def _split(texts: pa.Array, pattern: str, place: Place) -> tuple[pa.Array, pa.Array, Place]:
    """(offsets int32 [N + 1], the values, their places); an empty text has no value."""
    parts = pc.split_pattern_regex(texts, pattern)
    counts = pc.list_value_length(parts).to_numpy()
    full = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)
    flat = parts.flatten()
    if not full.all():
        flat = flat.filter(pa.array(np.repeat(full, counts)))
        counts = np.where(full, counts, 0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.array(offsets), flat, place.spread(counts)


def number(texts: pa.Array, kind: pa.DataType, name: str, place: Place) -> pa.Array:
    """Texts as numbers or booleans, "" as null; text as it is.

    Args:
        texts: without nulls.
        kind: what they become.
        name: how the message begins.
        place: of the texts.

    Raises:
        UserError: a text that is no number of this kind or out of its range.
    """
    if is_text(kind):
        return texts.cast(kind)
    integer = pa.types.is_integer(kind)
    # Far cheaper than the patterns below, and nearly always enough. What Arrow reads as a finite
    # number is one by the pattern too; as integers it would read hexadecimals.
    if integer and pc.all(pc.ascii_is_decimal(texts)).as_py():
        return cast(texts, kind, name, place)
    if pa.types.is_floating(kind):
        try:
            made = texts.cast(kind)
            if pc.all(pc.is_finite(made)).as_py():
                return made
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    texts = pc.utf8_trim_whitespace(texts)
    if pc.any(pc.equal(texts, "")).as_py():
        texts = pc.if_else(pc.not_equal(texts, ""), texts, pa.scalar(None, pa.string()))
    if pa.types.is_boolean(kind):
        texts = pc.utf8_lower(texts)
        right = pc.is_in(texts, pa.array([*TRUTHS, None], pa.string()))
    else:
        right = pc.match_substring_regex(texts, INTEGER if integer else NUMBER)
        # Arrow does not read a plus sign.
        texts = pc.replace_substring_regex(texts, r"^\+", "")
    refuse(pc.invert(right), texts, place, f"{name}{{}} is no {kind}")
    return cast(texts, kind, name, place)


def as_type(column: pa.Array, kind: pa.DataType, name: str, place: Place) -> pa.Array:
    """A column of a table as another type, by the rules for text where it is text; nulls stay.

    Args:
        column: numbers, text, lists or maps of these.
        kind: what it becomes.
        name: how a message begins.
        place: of the rows.

    Raises:
        UserError: a value that is not of the type or out of its range.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == kind:
        return column
    if is_list(column.type) and is_list(kind):
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        if pa.types.is_fixed_size_list(column.type):
            column = column.cast(pa.list_(column.type.value_type))
        values = as_type(column.flatten(), kind.value_type, name, place.spread(counts))
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        mask = column.is_null() if column.null_count else None
        return cast(pa.ListArray.from_arrays(offsets, values, mask=mask), kind, name, place)
    number_of_text = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if is_text(column.type) and number_of_text:
        return number(column.fill_null(""), kind, name, place)
    if is_text(kind) and pa.types.is_floating(column.type):
        # Whole numbers as integers; what is not finite is no word.
        finite = pc.fill_null(pc.is_finite(column), False)
        return pc.if_else(finite, text_of(column), pa.scalar(None, pa.string())).cast(kind)
    return cast(column, kind, name, place)


def cast(column: pa.Array, kind: pa.DataType, name: str, place: Place) -> pa.Array:
    """The column as `kind`; what does not fit is an error with its line."""

    def fits(start: int, stop: int) -> bool:
        part = column[start:stop]
        try:
            return not _overflowed(part, part.cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False

    try:
        made = column.cast(kind)
        if not _overflowed(column, made):
            return made
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    row = first_failing(len(column), fits)
    raise UserError(f"{place.of(row)}: {name}{_shown(column[row].as_py())} is outside the range of {kind}")


def _overflowed(column: pa.Array, made: pa.Array) -> bool:
    """Whether a number became infinite that was not: Arrow says nothing of it."""
    if not pa.types.is_floating(made.type):
        return False
    infinite = pc.is_inf(made)
    if pa.types.is_floating(column.type):
        infinite = pc.and_(infinite, pc.is_finite(column))
    return pc.any(infinite).as_py() is True


def first_failing(count: int, passes: Callable[[int, int], bool]) -> int:
    """The first of `count` rows that does not pass; passes(start, stop) tests a range."""
    start, stop = 0, count
    while stop - start > 1:
        middle = (start + stop) // 2
        if passes(start, middle):
            start = middle
        else:
            stop = middle
    return start
