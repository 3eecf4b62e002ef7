"""Parquet files that stay open between reads, and reading that is bounded by the batch.

A footer names every row group of its file. Parsed anew for each of them, reading takes the square of
their number; so a file stays open until others need its place.

Local files are read, not mapped: of a map that somebody cuts short the kernel ends the process.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from tzrec.datasets.files import DataFile

# Bytes of a column that are read at a time. Without a bound Arrow holds the columns of a whole row
# group; of remote files each piece is a request.
PIECE = 1 << 18
REMOTE_PIECE = 8 << 20
# A remote file whose row groups are no larger is read by whole groups, in few large requests.
WHOLE_GROUP = 128 << 20
# Bytes that a batch may hold, as the file encodes them.
BATCH_BYTES = 32 << 20
# How many files stay open, and how large their footers may be together, in bytes.
OPEN_FILES = 64
FOOTERS = 64 << 20


@dataclass
class OpenFile:
    """A file that is open.

    Attributes:
        parquet: its reader; one thread uses it at a time.
        source: what the reader reads from, where this process has opened that itself.
    """

    parquet: pq.ParquetFile
    source: Any = None

    @classmethod
    def open(cls, file: DataFile) -> "OpenFile":
        """Opens a file and parses its footer.

        Raises:
            OSError, pa.ArrowException: it cannot be read.
        """
        if file.is_local:
            return cls(pq.ParquetFile(file.path, pre_buffer=False, buffer_size=PIECE))
        source = file.open()
        try:
            parquet = pq.ParquetFile(source, pre_buffer=True)
            groups = (parquet.metadata.row_group(index) for index in range(parquet.num_row_groups))
            if any(group.total_byte_size > WHOLE_GROUP for group in groups):
                known = parquet.metadata
                parquet = pq.ParquetFile(source, metadata=known, pre_buffer=False, buffer_size=REMOTE_PIECE)
            return cls(parquet, source)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        self.parquet.close(force=True)
        if self.source is not None:
            self.source.close()


class OpenFiles:
    """Files of a table that nobody reads at the moment, the longest unused first. Threads may share it."""

    def __init__(self) -> None:
        self._idle: OrderedDict[int, OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def reading(self, number: int, opening: Callable[[], OpenFile]) -> Iterator[OpenFile]:
        """File `number`, for this thread alone; opened when it is not, kept afterwards but for an error."""
        with self._lock:
            file = self._idle.pop(number, None)
        if file is None:
            file = opening()
        try:
            yield file
        except BaseException:
            file.close()
            raise
        self._keep(number, file)

    def _keep(self, number: int, file: OpenFile) -> None:
        with self._lock:
            out = [before] if (before := self._idle.pop(number, None)) else []
            self._idle[number] = file
            while len(self._idle) > 1 and not self._fit():
                out.append(self._idle.popitem(last=False)[1])
        for one in out:
            one.close()

    def _fit(self) -> bool:
        footers = sum(file.parquet.metadata.serialized_size for file in self._idle.values())
        return len(self._idle) <= OPEN_FILES and footers <= FOOTERS


def group_sizes(metadata: pq.FileMetaData) -> list[int]:
    """Rows of each row group."""
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def rows_at_once(metadata: pq.FileMetaData, index: int, columns: Sequence[str] | None, most: int) -> int:
    """How many rows of a row group make a batch: `most`, or fewer where rows are large.

    Args:
        metadata: of the file.
        index: of the row group.
        columns: that are read; all when None.
        most: rows, at the most.
    """
    group = metadata.row_group(index)
    if group.total_byte_size <= BATCH_BYTES or not group.num_rows:
        return most
    size = 0
    for number in range(group.num_columns):
        column = group.column(number)
        path = column.path_in_schema
        if columns is None or any(path == name or path.startswith(f"{name}.") for name in columns):
            size += column.total_uncompressed_size
    return max(min(most, BATCH_BYTES * group.num_rows // max(size, 1)), 1)


def all_batches(parquet: pq.ParquetFile, columns: Sequence[str] | None, most: int) -> Iterator[Any]:
    """All rows of a file in order, as record batches of at most `most` rows."""
    for index in range(parquet.num_row_groups):
        rows = rows_at_once(parquet.metadata, index, columns, most)
        yield from parquet.iter_batches(rows, row_groups=[index], columns=columns)
