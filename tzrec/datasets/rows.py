"""The rows of a part of a table in the order of one pass, as they stand or shuffled."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.datasets.table import RowGroup, Table
from tzrec.runtime.errors import UserError

SEED = 20240501
# Of evaluation, which must not draw the negatives that training has taught the model to rank low.
EVALUATION_SEED = 20240502


@dataclass(frozen=True)
class Piece:
    """Some rows of one row group: [start, stop), counted from its first row."""

    group: RowGroup
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class RowStream:
    """A range of the table's rows in the order of one pass.

    In order, or shuffled: pieces of row groups in random order fill a buffer whose rows are
    then permuted, buffer after buffer. The order depends on the seed and the pass only.

    Args:
        table: where the rows are.
        start, stop: the rows, half open.
        buffer_rows: rows that are mixed with one another; 0 keeps the order of the table.
    """

    def __init__(self, table: Table, start: int, stop: int, buffer_rows: int = 0) -> None:
        self.table = table
        self.start, self.stop = start, stop
        self.buffer_rows = buffer_rows

    def read(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
        """Record batches of any size with the rows [start, stop) of the order of pass `epoch`."""
        stop = self.stop - self.start if stop is None else stop
        if not self.buffer_rows:
            yield from self.table.batches(self.start + start, self.start + stop)
            return
        generator = np.random.default_rng([SEED, epoch])
        place = 0
        for pieces in self._buffers(generator):
            rows = sum(map(len, pieces))
            order = generator.permutation(rows)[max(start - place, 0) : max(stop - place, 0)]
            place += rows
            if len(order):  # Known from the metadata: what is not wanted is not read.
                buffer = self._together(pieces)
                yield from buffer.take(order).combine_chunks().to_batches()
            if place >= stop:
                return

    def _together(self, pieces: list[Piece]) -> pa.Table:
        """The rows of these pieces, one after the other."""
        parts: list[list[pa.RecordBatch]] = [[] for _ in pieces]
        # Read as the table has them, so that each file is opened once a buffer at the most.
        for place in sorted(range(len(pieces)), key=lambda at: pieces[at].group.start + pieces[at].start):
            piece = pieces[place]
            parts[place] = list(self.table.group_rows(piece.group, piece.start, piece.stop))
        return pa.Table.from_batches([batch for part in parts for batch in part]).combine_chunks()

    def table_row(self, epoch: int, index: int) -> int:
        """The number in the table of row `index` of pass `epoch`."""
        if not self.buffer_rows:
            return self.start + index
        generator = np.random.default_rng([SEED, epoch])
        for pieces in self._buffers(generator):
            rows = sum(map(len, pieces))
            order = generator.permutation(rows)
            if index < rows:
                place = int(order[index])
                for piece in pieces:
                    if place < len(piece):
                        return piece.group.start + piece.start + place
                    place -= len(piece)
            index -= rows
        raise IndexError(index)

    def _buffers(self, generator: np.random.Generator) -> Iterator[list[Piece]]:
        pieces = []
        for group in self.table.row_groups:
            low, high = max(self.start - group.start, 0), min(self.stop - group.start, group.rows)
            for start in range(low, high, self.buffer_rows):
                pieces.append(Piece(group, start, min(start + self.buffer_rows, high)))
        filling: list[Piece] = []
        rows = 0
        for place in generator.permutation(len(pieces)):
            filling.append(pieces[place])
            rows += len(pieces[place])
            if rows >= self.buffer_rows:
                yield filling
                filling, rows = [], 0
        if filling:
            yield filling


def cut(stream: Iterator[pa.RecordBatch], sizes: np.ndarray, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of `stream` as batches of exactly these sizes, one after the other.

    Raises:
        UserError: the stream ends before.
    """
    rest: pa.RecordBatch | None = None
    for size in sizes.tolist():
        parts: list[pa.RecordBatch] = []
        while size:
            batch = next(stream, None) if rest is None else rest
            if batch is None:
                raise UserError(
                    "the files of the table gave fewer rows than they had when the run began; "
                    "leave them as they are and start again"
                )
            parts.append(batch.slice(0, size))
            rest = batch.slice(size) if batch.num_rows > size else None
            size -= parts[-1].num_rows
        if len(parts) == 1:
            yield parts[0]
        else:
            yield pa.concat_batches(parts) if parts else pa.RecordBatch.from_pylist([], schema)
