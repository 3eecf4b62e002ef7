"""Reading the GraphLearn text table: `id:int64 \\t weight:float \\t attrs:string`, one item a line.

Facts of the format: the first line names and types the columns; attributes are joined by a
delimiter of one or more characters; several values of one attribute stand with \\x1d between them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tzrec.datasets.files import DataFile
from tzrec.features.values import is_list, is_text
from tzrec.runtime.errors import UserError

MULTI_VALUE = "\x1d"
# Name and types of each column; in tables of users and edges the names are free.
HEADER = (("id", ("int64", "string")), ("weight", ("float", "double")), ("attrs", ("string",)))
INTEGER = r"^[+-]?[0-9]{1,19}$"
# float() of Python and of Arrow agree on these; nan and inf are no weights.
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


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


def read_text(
    file: DataFile, delimiter: str, header: Sequence[tuple[str, Sequence[str]]]
) -> tuple[pa.Table, list[str]]:
    """The columns of one file as text, and the types that its header gives them.

    Args:
        file: the table.
        delimiter: between its columns.
        header: name and allowed types of each column.

    Raises:
        UserError: a header that is not the format's, a line with another number of columns,
            bytes that are not UTF-8; with file and line.
    """
    with file.open() as stream:
        types = _header(file, stream, delimiter, header)
        names = [name for name, _ in header]
        bad: list[csv.InvalidRow] = []

        def keep_first(row: csv.InvalidRow) -> str:
            bad.append(row)
            return "skip"

        try:
            table = csv.read_csv(
                stream,
                csv.ReadOptions(column_names=names, use_threads=False),
                csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char=False,
                    ignore_empty_lines=False,
                    invalid_row_handler=keep_first,
                ),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                raise UserError(f"{file}: the negative table has no item") from None
            raise UserError(f"{file}: cannot be read as a negative table ({error})") from None
    if bad:
        row = bad[0]
        raise UserError(
            f"{file}:{row.number + 1}: {row.actual_columns} columns where {', '.join(names)} "
            f"make {len(names)}: {row.text[:80]!r}; columns are separated by {delimiter!r} (field_delimiter)"
        )
    return table, types


def _header(
    file: DataFile, stream: BinaryIO, delimiter: str, header: Sequence[tuple[str, Sequence[str]]]
) -> list[str]:
    try:
        line = stream.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(f"{file}:1: is not UTF-8 text") from None
    found = [part.strip().rpartition(":") for part in line.split(delimiter)]
    right = len(found) == len(header) and all(
        kind in allowed and (name == given or header is not HEADER)
        for (given, _, kind), (name, allowed) in zip(found, header, strict=True)
    )
    if not right:
        example = delimiter.join(f"{name}:{allowed[0]}" for name, allowed in header)
        raise UserError(
            f'{file}:1: the header is {line[:80]!r}; it must be "{example}" (or string for ids)'.replace(
                "\t", "\\t"
            )
        )
    return [kind for _, _, kind in found]


class Lines:
    """Turns the number of a row into a place for a message; rows of a text file start on line 2."""

    def __init__(self, file: DataFile, first: int = 2, word: str = "") -> None:
        self.file, self.first, self.word = file, first, word

    def at(self, row: int) -> str:
        return f"{self.file}:{self.word}{row + self.first}"


def ids_of(column: pa.Array, text_ids: bool, lines: Lines) -> pa.Array:
    """Ids as int64, or as text when `text_ids`.

    Raises:
        UserError: an id that is empty or no integer, with its line.
    """
    if text_ids:
        _refuse(pc.equal(column, ""), column, lines, "an empty id")
        return column
    _refuse(pc.invert(pc.match_substring_regex(column, INTEGER)), column, lines, "the id {} is no integer")
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UserError(f"{lines.file}: an id is outside the range of int64 ({error})") from None


def weights_of(column: pa.Array, lines: Lines) -> np.ndarray:
    """Weights as float64 [N].

    Raises:
        UserError: a weight that is not a finite number or is negative, with its line.
    """
    if is_text(column.type):
        wrong = pc.invert(pc.match_substring_regex(column, NUMBER))
        _refuse(wrong, column, lines, "the weight {} is no number")
    column = pc.fill_null(column.cast(pa.float64()), np.nan)
    _refuse(pc.invert(pc.is_finite(column)), column, lines, "the weight {} is not finite")
    _refuse(pc.less(column, 0), column, lines, "the weight {} is negative")
    return column.to_numpy(zero_copy_only=False)


def attributes_of(
    column: pa.Array, delimiter: str, types: Sequence[AttributeType], lines: Lines
) -> dict[str, pa.Array]:
    """The attributes of every row, each as its training column's type.

    Raises:
        UserError: a row with another number of attributes, or a value that is not of the
            type, with its line.
    """
    parts = pc.split_pattern(column, delimiter)
    counts = pc.list_value_length(parts)
    wrong = pc.not_equal(counts, len(types))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise UserError(
            f"{lines.at(row)}: {counts[row].as_py()} attributes where attr_fields names {len(types)} "
            f"({', '.join(kind.name for kind in types)}): {column[row].as_py()[:80]!r}; "
            f"attr_delimiter is {delimiter!r}"
        )
    return {
        kind.name: convert(pc.list_element(parts, place), kind, lines) for place, kind in enumerate(types)
    }


def convert(texts: pa.Array, kind: AttributeType, lines: Lines) -> pa.Array:
    """Attribute texts as the type of their training column; "" is null for a number."""
    if is_text(kind.type):
        if kind.separator != MULTI_VALUE:
            texts = pc.replace_substring(texts, MULTI_VALUE, kind.separator)
        return texts.cast(kind.type)
    if is_list(kind.type):
        return _convert_list(texts, kind, lines)
    return _convert_number(texts, kind.type, kind.name, lines)


def _convert_list(texts: pa.Array, kind: AttributeType, lines: Lines) -> pa.Array:
    separators = [re.escape(one) for one in (MULTI_VALUE, kind.encoded_separator) if one]
    split = pc.split_pattern_regex(texts, "|".join(separators))
    empty = pc.equal(texts, "").to_numpy(zero_copy_only=False)
    lengths = np.where(empty, 0, pc.list_value_length(split).to_numpy(zero_copy_only=False))
    flat = split.flatten()
    # An empty text splits into one empty value, which is no value.
    rows = np.repeat(np.arange(len(texts)), pc.list_value_length(split).to_numpy(zero_copy_only=False))
    flat = flat.filter(pa.array(~empty[rows]))
    item = kind.type.value_type
    if not is_text(item):
        flat = _convert_number(flat, item, kind.name, _RowsOf(lines, rows[~empty[rows]]))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, flat.cast(item)).cast(pa.list_(item))


class _RowsOf(Lines):
    """Places of flat values: each is on the line of its row."""

    def __init__(self, lines: Lines, rows: np.ndarray) -> None:
        super().__init__(lines.file, lines.first, lines.word)
        self.rows = rows

    def at(self, row: int) -> str:
        return super().at(int(self.rows[row]))


def _convert_number(texts: pa.Array, kind: pa.DataType, name: str, lines: Lines) -> pa.Array:
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise UserError(
            f'{lines.file}: attribute "{name}" has the type {kind} in the training table; '
            "attributes can be numbers, text, or lists of these"
        )
    texts = pc.utf8_trim_whitespace(texts)
    present = pc.not_equal(texts, "")
    pattern = INTEGER if pa.types.is_integer(kind) else NUMBER
    wrong = pc.and_(present, pc.invert(pc.match_substring_regex(texts, pattern)))
    _refuse(wrong, texts, lines, f'attribute "{name}": {{}} is no {kind}')
    try:
        return pc.if_else(present, texts, pa.scalar(None, pa.string())).cast(kind)
    except pa.ArrowInvalid as error:
        raise UserError(f'{lines.file}: attribute "{name}": {error}') from None


def _refuse(wrong: pa.Array, column: pa.Array, lines: Lines, message: str) -> None:
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        raise UserError(f"{lines.at(row)}: " + message.format(repr(column[row].as_py())))
