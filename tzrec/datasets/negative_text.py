"""Reading the GraphLearn text table: `id:int64 \\t weight:float \\t attrs:string`, one item a line.

Facts of the format: the first line names and types the columns; attributes are joined by a
delimiter of one or more characters; several values of one attribute stand with \\x1d between them.

A file is read as blocks of whole lines. What a block holds does not depend on the others, so
memory is bounded by the block and several can be converted at once.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tzrec.datasets.attributes import SHOWN, AttributeType, Place, number, refuse, required, split_attributes
from tzrec.datasets.files import DataFile
from tzrec.features.values import is_text
from tzrec.runtime.errors import UserError

# Name and types of each column of a text table.
Header = Sequence[tuple[str, Sequence[str]]]
IDS = ("int64", "string")
WEIGHT = ("float", "double")
ITEM: Header = (("id", IDS), ("weight", WEIGHT), ("attrs", ("string",)))
GZIP = b"\x1f\x8b"
BLOCK = 8 << 20  # bytes
LONGEST_LINE = 1 << 28  # bytes; a few times as many are in memory
# What a gzip file may become: this many bytes, or this many times its size. Tables become 3 to 30 times
# as large; what is made to fill a disk, a thousand times.
EXPANDED = 1 << 30
TIMES = 200


@dataclass(frozen=True)
class Items:
    """Some rows of a table.

    Attributes:
        ids: int64 or text [N].
        weights: float64 [N].
        attributes: one array [N] each, in the order of the attribute types.
    """

    ids: pa.Array
    weights: np.ndarray
    attributes: list[pa.Array]

    def __len__(self) -> int:
        return len(self.ids)


class TextFile:
    """One text file of the table, plain or gzip-compressed (known by its content).

    Args:
        file: where it is.
        delimiter: between id, weight and attributes, one character.
        block: bytes that are read at a time.
        header: of the table; that of items has its names, in others the names are free.

    Attributes:
        types: of the columns, as the first line says.

    Raises:
        UserError: a header that is not the format's.
    """

    def __init__(self, file: DataFile, delimiter: str, block: int = BLOCK, header: Header = ITEM) -> None:
        self.file, self.delimiter, self.block, self.header = file, delimiter, block, header
        with _readable(file):
            self.source = file.open()
            start = self.source.read(2)
            self.source.seek(0)
        self.stream = self.source
        self.expanded = 0  # bytes read from the stream, where it is compressed
        if start == GZIP:
            self.stream = cast(BinaryIO, gzip.GzipFile(fileobj=self.source))
        try:
            self.types = self._types()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.stream.close()
        self.source.close()

    def position(self) -> int:
        """Bytes of the file that have been read."""
        return self.source.tell()

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """Whole lines, and the number of the first of them."""
        rest, length, line = list[bytes](), 0, 2
        while piece := self._read(self.block):
            end = piece.rfind(b"\n") + 1
            if not end:
                rest.append(piece)
                length += len(piece)
                if length > LONGEST_LINE:
                    raise UserError(f"{self.file}:{line}: a line longer than {LONGEST_LINE:,} bytes")
                continue
            whole = b"".join([*rest, piece[:end]])
            rest, length = [piece[end:]], len(piece) - end
            yield whole, line
            line += whole.count(b"\n")
        if length:
            yield b"".join(rest), line

    def _read(self, size: int) -> bytes:
        with _readable(self.file):
            piece = self.stream.read(size)
        if self.stream is not self.source:
            self.expanded += len(piece)
            read = self.source.tell()
            if self.expanded > max(EXPANDED, TIMES * read):
                raise UserError(
                    f"{self.file}: is gzip-compressed, and {read:,} bytes of it have become more than "
                    f"{self.expanded:,}; at most {EXPANDED:,} or {TIMES} times as many are read. If it is a "
                    "table all the same, expand it yourself and give that file"
                )
        return piece

    def _types(self) -> list[str]:
        with _readable(self.file):
            raw = self.stream.readline(1 << 20)
        wanted = self.delimiter.join(f"{name}:{types[0]}" for name, types in self.header)
        wanted = f'"{wanted}" (or string for ids)'.replace("\t", "\\t")
        if not raw:
            raise UserError(f"{self.file}: is empty; its first line must be {wanted}")
        try:
            line = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise _not_utf8(f"{self.file}:1", error) from None
        found = [part.strip().rpartition(":") for part in line.split(self.delimiter)]
        right = len(found) == len(self.header) and all(
            kind in types and (given == name or self.header is not ITEM)
            for (given, _, kind), (name, types) in zip(found, self.header, strict=True)
        )
        if not right:
            raise UserError(f"{self.file}:1: the header is {line[:SHOWN]!r}; it must be {wanted}")
        return [kind for _, _, kind in found]


@contextmanager
def _readable(file: DataFile) -> Iterator[None]:
    """Makes an error while reading one that names the file."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{file}: is gzip-compressed and broken ({error}); write it again") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None


def _not_utf8(where: str, error: UnicodeDecodeError) -> UserError:
    found = error.object[error.start : error.start + 4]
    return UserError(f"{where}: the bytes {found!r} are not UTF-8; write the table as UTF-8")


def items_of(
    block: bytes,
    first: int,
    file: DataFile,
    text_ids: bool,
    delimiters: tuple[str, str],
    types: Sequence[AttributeType],
) -> Items:
    """The items of a block of whole lines.

    Args:
        block: the lines.
        first: number of the first of them, for messages.
        file: where they stand.
        text_ids: whether the header says id:string.
        delimiters: of columns and of attributes.
        types: of the attributes.

    Raises:
        UserError: whatever is not as the format says, with file and line.
    """
    place = Place(file, first)
    ids, weights, attributes = text_columns(block, place, delimiters[0], ITEM)
    return Items(
        ids_of(ids, text_ids, place),
        weights_of(weights, place),
        split_attributes(attributes, delimiters[1], types, place),
    )


def text_columns(block: bytes, place: Place, delimiter: str, header: Header) -> list[pa.Array]:
    """The columns of a block of whole lines, as text.

    Raises:
        UserError: an empty line, a line with another number of columns, bytes that are not UTF-8.
    """
    names = [name for name, _ in header]
    if block.count(b"\r") != block.count(b"\r\n"):
        # Arrow would take it for the end of a line, other readers would not.
        row = next(row for row, line in enumerate(block.split(b"\n")) if b"\r" in line.removesuffix(b"\r"))
        raise UserError(f"{place.of(row)}: a carriage return within the line; lines end with \\n or \\r\\n")
    bad: list[csv.InvalidRow] = []

    def keep(row: csv.InvalidRow) -> str:
        bad.append(row)
        return "skip"

    try:
        table = csv.read_csv(
            pa.BufferReader(block),
            # One Arrow block, so that a column is one array.
            csv.ReadOptions(column_names=names, use_threads=False, block_size=len(block) + 1),
            csv.ParseOptions(
                delimiter=delimiter, quote_char=False, ignore_empty_lines=False, invalid_row_handler=keep
            ),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        try:
            block.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise _not_utf8(place.of(block.count(b"\n", 0, wrong.start)), wrong) from None
        if not bad:
            raise UserError(f"{place.file}: cannot be read as a negative table ({error})") from None
    if bad:
        row = bad[0]
        raise UserError(
            f"{place.of(row.number - 1)}: {row.actual_columns} columns where {', '.join(names)} "
            f"make {len(names)}: {row.text[:SHOWN]!r}; "
            f"columns are separated by {delimiter!r} (field_delimiter)"
        )
    columns = [pa.concat_arrays(column.chunks) for column in table.columns]
    # To Arrow an empty line is one of empty columns.
    empty = pc.equal(columns[0], "").to_numpy(zero_copy_only=False)
    if empty.any():
        lines = block.split(b"\n")
        for row in np.flatnonzero(empty).tolist():
            if not lines[row].removesuffix(b"\r"):
                raise UserError(
                    f"{place.of(row)}: an empty line where {', '.join(names)} make {len(names)} columns; "
                    "remove it"
                )
    return columns


def ids_of(column: pa.Array, text_ids: bool, place: Place) -> pa.Array:
    """Ids as int64, or as text when `text_ids`.

    Raises:
        UserError: an id that is empty, no integer or beyond int64, with its line.
    """
    refuse(column.is_null(), column, place, "an id is null")
    if is_text(column.type):
        refuse(pc.equal(column, ""), column, place, "an empty id")
        return column if text_ids else required(number(column, pa.int64(), "the id ", place), place, "the id")
    return column


def weights_of(column: pa.Array, place: Place) -> np.ndarray:
    """Weights as float64 [N].

    Raises:
        UserError: a weight that is not a finite number or is negative, with its line.
    """
    if is_text(column.type):
        refuse(pc.equal(column, ""), column, place, "an empty weight")
        column = number(column, pa.float64(), "the weight ", place)
    refuse(column.is_null(), column, place, "a weight is missing")
    weights = column.cast(pa.float64())
    refuse(pc.invert(pc.is_finite(weights)), column, place, "the weight {} is not finite")
    refuse(pc.less(weights, 0), column, place, "the weight {} is negative; give 0 or more")
    return weights.to_numpy()
