"""A table of CSV files: a line is a row. Blocks of lines take the place of parquet's row groups."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tzrec.datasets.files import DataFile, expand
from tzrec.datasets.table import RowGroup, Table
from tzrec.runtime.errors import UserError, missing_columns, one_line

SUFFIXES = (".csv",)
# Bytes of a block: large enough that parsing it pays, small enough to be read for a few rows.
BLOCK = 1 << 23
_COLUMNS_OF = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_VALUE_OF = re.compile(
    r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to (\S+): invalid value '(.*)'"
)
_BYTES_OF = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to \S+: invalid UTF8")
# Arrow's reader takes 0x10 for an integer, 16; nobody else does.
_HEXADECIMAL = r"^\s*-?0[xX]"


@dataclass(frozen=True)
class _Block:
    """Whole lines of a file: where they begin and how many bytes they are."""

    offset: int
    size: int
    line: int


class CsvTable(Table):
    """CSV files as one table. An empty field is null in a column of numbers and "" in one of text.

    A line is a row: no value holds a line break, quoted or not.

    Args:
        paths: as `files.expand` takes them.
        columns: the columns to read, in this order; all when None.
        flag: what to call the path in an error.
        types: of columns by name, in the order of the file where it has no header.
        delimiter: one character between fields.
        header: whether the first line of every file names the columns.

    Raises:
        UserError: no file, no names, a name twice, a column that is not there, a file whose header
            differs from the first one's, a carriage return within a line.
    """

    def __init__(
        self,
        paths: str,
        columns: Sequence[str] | None = None,
        flag: str = "path",
        types: Mapping[str, pa.DataType] | None = None,
        delimiter: str = ",",
        header: bool = False,
    ) -> None:
        self.files = expand(paths, SUFFIXES, flag)
        self.versions = [file.version() for file in self.files]
        self.delimiter = delimiter
        self.row_groups, self.num_rows = [], 0
        self.blocks: list[list[_Block]] = []
        self.names: list[str] = [] if header else list(types or {})
        if not header and not types:
            raise UserError(
                "data_config: CSV without a header has no names; give input_fields, or with_header: true"
            )
        for number, file in enumerate(self.files):
            blocks, rows = _scan(file, header)
            if header:
                self._header(file, blocks)
            self.blocks.append(blocks)
            for index, count in enumerate(rows):
                if count:
                    self.row_groups.append(RowGroup(number, index, self.num_rows, count))
                    self.num_rows += count
        if lost := [name for name in (types or {}) if name not in self.names]:
            raise missing_columns(f"{self.files[0]} (data_config.input_fields)", lost, self.names)
        wanted = self.names if columns is None else list(columns)
        if lost := [name for name in wanted if name not in self.names]:
            raise missing_columns(str(self.files[0]), lost, self.names)
        self.schema = pa.schema([(name, (types or {}).get(name, pa.string())) for name in self.names])
        if guessed := [name for name in wanted if name not in (types or {})]:
            self._guess(guessed)
        self.schema = pa.schema([self.schema.field(name) for name in wanted])

    def _header(self, file: DataFile, blocks: list[_Block]) -> None:
        with file.open() as source:
            first = source.readline()
        if not first.strip():
            raise UserError(f"{file}: is empty; its first line must name the columns")
        try:
            line = first.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise _not_utf8(f"{file}:1", first[error.start :]) from None
        row = pa_csv.read_csv(
            io.BytesIO((line + "\n").encode()),
            read_options=pa_csv.ReadOptions(autogenerate_column_names=True),
            parse_options=pa_csv.ParseOptions(delimiter=self.delimiter),
        )
        found = [str(column[0].as_py()) for column in row.columns]
        if twice := [name for place, name in enumerate(found) if name in found[:place]]:
            raise UserError(f'{file}:1: the header names column "{twice[0]}" twice; give each name once')
        if not self.names:
            self.names = found
        elif found != self.names:
            raise UserError(
                f"{file}: its header names {', '.join(found)}, that of {self.files[0]} "
                f"{', '.join(self.names)}; one table has the same columns in every file"
            )

    def _guess(self, names: Sequence[str]) -> None:
        """Types of columns that none is given for: integers, numbers or text, by the first block."""
        if not self.row_groups:
            return
        group = self.row_groups[0]
        content = self._bytes(group)
        guessed = self._parse(group, content, names, {}).schema
        integers = [field.name for field in guessed if pa.types.is_integer(field.type)]
        for name in names:
            kind = guessed.field(name).type
            if name in integers and self._hexadecimal(group, content, name) is not None:
                continue
            if pa.types.is_integer(kind) or pa.types.is_floating(kind):
                place = self.schema.get_field_index(name)
                self.schema = self.schema.set(place, pa.field(name, kind))

    def group_rows(
        self, group: RowGroup, start: int, stop: int, batch_rows: int = 65536
    ) -> Iterator[pa.RecordBatch]:
        """The rows [start, stop) of one block, counted from its first row."""
        with self._unchanged(group.file):
            table = self._rows(group)
        start = max(start, 0)
        table = table.slice(start, max(min(stop, group.rows) - start, 0)).combine_chunks()
        yield from table.to_batches(max_chunksize=batch_rows)

    def _rows(self, group: RowGroup) -> pa.Table:
        names = self.schema.names
        content = self._bytes(group)
        table = self._parse(group, content, names, {name: self.schema.field(name).type for name in names})
        for field in self.schema:
            if not pa.types.is_integer(field.type):
                continue
            if (row := self._hexadecimal(group, content, field.name)) is not None:
                raise UserError(
                    f'{self.where(group, row)}: column "{field.name}": '
                    f"a hexadecimal number is no {field.type}; write it in decimal notation"
                )
        return table

    def _parse(
        self, group: RowGroup, content: bytes, names: Sequence[str], types: Mapping[str, pa.DataType]
    ) -> pa.Table:
        file = self.files[group.file]
        try:
            table = pa_csv.read_csv(
                io.BytesIO(content),
                read_options=pa_csv.ReadOptions(
                    column_names=self.names, use_threads=False, block_size=BLOCK * 2
                ),
                parse_options=pa_csv.ParseOptions(delimiter=self.delimiter),
                convert_options=pa_csv.ConvertOptions(
                    include_columns=list(names),
                    column_types=dict(types),
                    null_values=[""],
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            raise self._mistake(group, str(error)) from None
        except OSError as error:
            raise _unreadable(file, error) from None
        if table.num_rows != group.rows:
            raise self._merged(group, content, table.num_rows)
        return table

    def _merged(self, group: RowGroup, content: bytes, rows: int) -> UserError:
        """The error for lines that Arrow reads as another number of rows."""
        first = self.blocks[group.file][group.index].line
        odd = (at for at, line in enumerate(content.split(b"\n"), first) if line.count(b'"') % 2)
        return UserError(
            f"{self.files[group.file]}:{next(odd, first)}: a quoted value goes on in the next line "
            f"({group.rows} lines from line {first} on are {rows} rows); a line is a row: "
            "close the quotes in their line and put no line breaks into values"
        )

    def _hexadecimal(self, group: RowGroup, content: bytes, name: str) -> int | None:
        """The first row of a block whose value in a column of integers is hexadecimal."""
        if b"0x" not in content and b"0X" not in content:
            return None
        texts = self._parse(group, content, [name], {name: pa.string()}).column(0)
        row = pc.index(pc.match_substring_regex(texts, _HEXADECIMAL), True).as_py()
        return None if row < 0 else row

    def _bytes(self, group: RowGroup) -> bytes:
        block = self.blocks[group.file][group.index]
        file = self.files[group.file]
        try:
            with file.open() as source:
                source.seek(block.offset)
                return source.read(block.size)
        except OSError as error:
            raise _unreadable(file, error) from None

    def _mistake(self, group: RowGroup, text: str) -> UserError:
        if found := _COLUMNS_OF.search(text):
            line, wanted, got = found.groups()
            return UserError(f"{self.where(group, int(line) - 1)}: {got} fields, the table has {wanted}")
        if found := _VALUE_OF.search(text):
            column, row, kind, value = found.groups()
            where = self.where(group, int(row) - 1) if row else str(self.files[group.file])
            return UserError(f'{where}: column "{self.names[int(column)]}": "{value}" is no {kind}')
        if found := _BYTES_OF.search(text):
            name = self.names[int(found.group(1))]
            content = self._bytes(group)
            values = self._parse(group, content, [name], {name: pa.binary()}).column(0).to_pylist()
            row = next(row for row, value in enumerate(values) if not _is_utf8(value))
            return _not_utf8(f'{self.where(group, row)}: column "{name}"', values[row])
        return UserError(f"{self.files[group.file]}: cannot be read as CSV ({text.splitlines()[0]})")

    def where(self, group: RowGroup, row: int) -> str:
        """The file and the line."""
        lines = _lines(np.frombuffer(self._bytes(group), np.uint8))
        number = self.blocks[group.file][group.index].line + int(lines[min(row, len(lines) - 1)])
        return f"{self.files[group.file]}:{number}"


def _unreadable(file: DataFile, error: OSError) -> UserError:
    return UserError(
        f"{file}: cannot be read ({one_line(error)}); look at the file and its disk, then start again"
    )


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(where: str, found: bytes) -> UserError:
    return UserError(f"{where}: the bytes {found[:16]!r} are not UTF-8; write the file as UTF-8")


def _refuse_returns(file: DataFile, content: bytes, line: int) -> None:
    """Raises UserError for a carriage return that ends no line: Arrow would begin a row behind it."""
    content = content.removesuffix(b"\r")  # At the end of the file it begins nothing.
    if content.count(b"\r") != content.count(b"\r\n"):
        place = next(
            at for at, each in enumerate(content.split(b"\n"), line) if b"\r" in each.removesuffix(b"\r")
        )
        raise UserError(f"{file}:{place}: a carriage return within the line; lines end with \\n or \\r\\n")


def _lines(content: np.ndarray) -> np.ndarray:
    """int64 [rows], the numbers from 0 of the lines that hold something."""
    ends = np.flatnonzero(content == ord("\n"))
    if len(content) and (not len(ends) or ends[-1] != len(content) - 1):
        ends = np.append(ends, len(content))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    empty = (ends == starts) | ((ends == starts + 1) & (content[np.minimum(starts, len(content) - 1)] == 13))
    return np.flatnonzero(~empty)


def _scan(file: DataFile, header: bool) -> tuple[list[_Block], list[int]]:
    """(the blocks of a file, the rows of each)."""
    blocks: list[_Block] = []
    rows: list[int] = []
    offset, line = 0, 1
    try:
        with file.open() as source:
            if header:
                first = source.readline()
                _refuse_returns(file, first, 1)
                offset, line = len(first), 2
            rest = b""
            while True:
                content = source.read(BLOCK)
                whole = rest + content
                cut = whole.rfind(b"\n") + 1 if content else len(whole)
                rest = whole[cut:]
                if cut:
                    _refuse_returns(file, whole[:cut], line)
                    part = np.frombuffer(whole, np.uint8, cut)
                    blocks.append(_Block(offset, cut, line))
                    rows.append(len(_lines(part)))
                    offset, line = offset + cut, line + int((part == ord("\n")).sum())
                if not content:
                    return blocks, rows
    except OSError as error:
        raise _unreadable(file, error) from None
