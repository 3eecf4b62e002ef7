"""A table of parquet files: its schema and its row count from the footers, its rows when asked for."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pyarrow as pa

from tzrec.datasets.files import DataFile, changed, expand
from tzrec.datasets.parquet_file import OpenFile, OpenFiles, group_sizes, rows_at_once
from tzrec.datasets.table import FEW_ROWS, RowGroup, Table
from tzrec.runtime.errors import UserError, missing_columns, one_line


@contextmanager
def _reading(file: DataFile) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        raise UserError(
            f"{file}: cannot be read as parquet ({one_line(error)}); "
            "give files written as parquet, and copy this one again if it should be"
        ) from None


class ParquetTable(Table):
    """Parquet files as one table; rows are numbered through all files in their order.

    Args:
        paths: as `files.expand` takes them.
        columns: the columns to read, in this order; all when None.
        flag: what to call the path in an error.

    Attributes:
        schema: Arrow schema of the columns that are read.
        num_rows: rows in all files.

    Raises:
        UserError: no file, a file that is not parquet, a column that is not there or stands
            there twice, or a file whose column types differ from the first one's.
    """

    def __init__(self, paths: str, columns: Sequence[str] | None = None, flag: str = "path") -> None:
        self.files = expand(paths, (".parquet",), flag)
        self.versions = [file.version() for file in self.files]
        self.row_groups = []
        self.open_files = OpenFiles()
        self.num_rows = 0
        self.schema = pa.schema([])
        for number, file in enumerate(self.files):
            with _reading(file), self.open_files.reading(number, partial(OpenFile.open, file)) as opened:
                parquet = opened.parquet
                names = parquet.schema_arrow.names
                if columns is not None and (lost := [name for name in columns if name not in names]):
                    raise missing_columns(str(file), lost, names)
                wanted = names if columns is None else columns
                if twice := [name for name in wanted if names.count(name) > 1]:
                    raise UserError(f'{file}: column "{twice[0]}" stands there twice; give each name once')
                schema = pa.schema([parquet.schema_arrow.field(name).remove_metadata() for name in wanted])
                self._agree(file, schema)
                for index, rows in enumerate(group_sizes(parquet.metadata)):
                    if rows:
                        self.row_groups.append(RowGroup(number, index, self.num_rows, rows))
                        self.num_rows += rows

    def _agree(self, file: DataFile, schema: pa.Schema) -> None:
        if file is self.files[0]:
            self.schema = schema
            return
        if [f.name for f in schema] != [f.name for f in self.schema]:
            raise UserError(
                f"{file}: its columns are {', '.join(schema.names)}, those of {self.files[0]} "
                f"are {', '.join(self.schema.names)}; one table has the same columns in every file"
            )
        for ours, theirs in zip(self.schema, schema, strict=True):
            if ours.type != theirs.type:
                raise UserError(
                    f'{file}: column "{ours.name}" is {theirs.type}, in {self.files[0]} it is {ours.type}; '
                    "one table has one type a column"
                )

    def group_rows(
        self, group: RowGroup, start: int, stop: int, batch_rows: int = 65536
    ) -> Iterator[pa.RecordBatch]:
        """The rows [start, stop) of one row group, counted from its first row."""
        start, stop = max(start, 0), min(stop, group.rows)
        names = self.schema.names
        with self._unchanged(group.file), _reading(self.files[group.file]), self._opened(group) as opened:
            parquet, done = opened.parquet, 0
            rows = rows_at_once(parquet.metadata, group.index, names, batch_rows)
            # Of a small row group the threads would cost more than the reading.
            threads = group.rows > FEW_ROWS
            for batch in parquet.iter_batches(rows, [group.index], names, use_threads=threads):
                low, high = max(start - done, 0), min(stop - done, batch.num_rows)
                done += batch.num_rows
                if low < high:
                    yield batch.select(names).slice(low, high - low)
                if done >= stop:
                    break

    def _opened(self, group: RowGroup) -> AbstractContextManager[OpenFile]:
        return self.open_files.reading(group.file, partial(self._again, group.file))

    def _again(self, number: int) -> OpenFile:
        """Opens a file once more; it must be what it was when the table was opened."""
        file = self.files[number]
        opened = OpenFile.open(file)
        found, metadata = opened.parquet.schema_arrow, opened.parquet.metadata
        known = [name for name in self.schema.names if name in found.names]
        reason = ""
        if lost := [name for name in self.schema.names if name not in known]:
            reason = f'it has no column "{lost[0]}" any more'
        elif other := [name for name in known if found.field(name).type != self.schema.field(name).type]:
            reason = f'column "{other[0]}" is {found.field(other[0]).type} now'
        elif self._sizes(number) != [rows for rows in group_sizes(metadata) if rows]:
            reason = "its row groups have other numbers of rows"
        if not reason:
            return opened
        opened.close()
        raise changed(file, reason)

    def _sizes(self, number: int) -> list[int]:
        first, last = (
            bisect(self.row_groups, number, key=lambda group: group.file)
            for bisect in (bisect_left, bisect_right)
        )
        return [group.rows for group in self.row_groups[first:last]]

    def where(self, group: RowGroup, row: int) -> str:
        """The file, the row group and the row in it, from 0."""
        return f"{self.files[group.file]}, row group {group.index}, row {row}"
