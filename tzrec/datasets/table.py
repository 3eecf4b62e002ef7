"""A table of files: rows are numbered through all files, and any range of them is read as Arrow batches."""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from tzrec.datasets.files import DataFile, Version, changed
from tzrec.runtime.errors import UserError

# A batch of fewer rows and bytes is put together with those beside it.
FEW_ROWS = 1000
FEW_BYTES = 1 << 20


@dataclass(frozen=True)
class RowGroup:
    """Rows of one file that are read together.

    Attributes:
        file: index of its file in the table.
        index: index of the row group in its file.
        start: number of its first row in the whole table.
        rows: how many rows it has.
    """

    file: int
    index: int
    start: int
    rows: int


class Table(ABC):
    """Files as one table.

    Attributes:
        files: in their order.
        versions: of the files, when the table was opened.
        row_groups: of all files that have rows, in order.
        num_rows: rows in all files.
        schema: Arrow schema of the columns that are read.
    """

    files: list[DataFile]
    versions: list[Version]
    row_groups: list[RowGroup]
    num_rows: int
    schema: pa.Schema

    @property
    def fingerprint(self) -> str:
        """The sizes of all row groups in a word; with another one, rows stand in another order."""
        sizes = ",".join(str(group.rows) for group in self.row_groups)
        return hashlib.sha256(sizes.encode()).hexdigest()[:16]

    def select(self, columns: Sequence[str]) -> "Table":
        """The same rows with fewer columns; only these are read."""
        chosen = copy.copy(self)
        chosen.schema = pa.schema([self.schema.field(name) for name in columns])
        return chosen

    def batches(self, start: int, stop: int, batch_rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """The rows [start, stop) in order, in batches of at most `batch_rows` rows of any size.

        Very small row groups are put together: what is done for each batch would cost more than they hold.
        """
        parts = (
            batch
            for group in self.row_groups
            if group.start < stop and group.start + group.rows > start
            for batch in self.group_rows(group, start - group.start, stop - group.start, batch_rows)
        )
        return _joined(parts, batch_rows)

    @contextmanager
    def _unchanged(self, number: int) -> Iterator[None]:
        """Reads of file `number` happen within: all rows of a run are of one version of the file.

        Raises:
            UserError: it has been changed since the table was opened, or while it was read.
        """
        file, before = self.files[number], self.versions[number]
        _same(file, before)
        try:
            yield
        except UserError:
            _same(file, before)  # If it has changed, that is the reason.
            raise
        _same(file, before)

    @abstractmethod
    def group_rows(
        self, group: RowGroup, start: int, stop: int, batch_rows: int = 65536
    ) -> Iterator[pa.RecordBatch]:
        """The rows [start, stop) of one row group, counted from its first row."""

    @abstractmethod
    def where(self, group: RowGroup, row: int) -> str:
        """What to call a row of a row group in an error."""

    def place(self, row: int) -> str:
        """What to call a row of the table in an error: its file, and where it stands there."""
        group = next(one for one in self.row_groups if one.start <= row < one.start + one.rows)
        return self.where(group, row - group.start)


def _joined(parts: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for part in parts:
        small = part.num_rows < FEW_ROWS and part.nbytes < FEW_BYTES
        if held and (not small or rows + part.num_rows > batch_rows or size > FEW_BYTES):
            yield pa.concat_batches(held) if len(held) > 1 else held[0]
            held, rows, size = [], 0, 0
        if small:
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
        else:
            yield part
    if held:
        yield pa.concat_batches(held) if len(held) > 1 else held[0]


def _same(file: DataFile, before: Version) -> None:
    try:
        now = file.version()
    except FileNotFoundError:
        raise changed(file, "it is gone") from None
    if now != before:
        was, has = before[0], now[0]
        raise changed(file, "it was written again" if was == has else f"it had {was:,} bytes and has {has:,}")
