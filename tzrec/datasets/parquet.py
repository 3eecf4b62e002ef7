"""A table of parquet files: its schema and its row count from the footers, its rows when asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.datasets.files import DataFile, expand
from tzrec.datasets.table import RowGroup, Table
from tzrec.runtime.errors import UserError, missing_columns


@contextmanager
def _reading(file: DataFile) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{file}: cannot be read as parquet ({reason}); "
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
        self.row_groups = []
        self.num_rows = 0
        self.schema = pa.schema([])
        for number, file in enumerate(self.files):
            with _reading(file), self._open(file) as parquet:
                names = parquet.schema_arrow.names
                if columns is not None and (lost := [name for name in columns if name not in names]):
                    raise missing_columns(str(file), lost, names)
                wanted = names if columns is None else columns
                if twice := [name for name in wanted if names.count(name) > 1]:
                    raise UserError(f'{file}: column "{twice[0]}" stands there twice; give each name once')
                schema = pa.schema([parquet.schema_arrow.field(name).remove_metadata() for name in wanted])
                self._agree(file, schema)
                for index in range(parquet.num_row_groups):
                    rows = parquet.metadata.row_group(index).num_rows
                    if rows:
                        self.row_groups.append(RowGroup(number, index, self.num_rows, rows))
                        self.num_rows += rows

    @staticmethod
    def _open(file: DataFile) -> pq.ParquetFile:
        if file.is_local:
            return pq.ParquetFile(file.path, memory_map=True)
        return pq.ParquetFile(file.open(), pre_buffer=True)

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
        file = self.files[group.file]
        start, stop = max(start, 0), min(stop, group.rows)
        with _reading(file), self._open(file) as parquet:
            done = 0
            for batch in parquet.iter_batches(
                batch_size=batch_rows, row_groups=[group.index], columns=self.schema.names
            ):
                low, high = max(start - done, 0), min(stop - done, batch.num_rows)
                done += batch.num_rows
                if low < high:
                    yield batch.select(self.schema.names).slice(low, high - low)
                if done >= stop:
                    break

    def where(self, group: RowGroup, row: int) -> str:
        """The file, the row group and the row in it, from 0."""
        return f"{self.files[group.file]}, row group {group.index}, row {row}"
