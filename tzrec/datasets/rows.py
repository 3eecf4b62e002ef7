"""Which rows make which batch: divided over ranks by row count, in order or shuffled, resumable."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.datasets.table import RowGroup, Table
from tzrec.runtime.world import World

SEED = 20240501


def batch_sizes(rows: int, world: World, batch_size: int, drop_remainder: bool = False) -> np.ndarray:
    """Rows of every batch of this rank in one pass; every rank has the same number of batches.

    Full batches come first. A rank whose last batch would be empty while another rank's is
    not takes one row from the batch before. A batch is empty only where a rank has fewer
    rows than there are steps, which needs fewer rows than ranks or a batch size of 1.

    Args:
        rows: rows of the whole table.
        world: the place of this process.
        batch_size: rows of a full batch.
        drop_remainder: leave out what does not fill a batch on every rank.

    Returns:
        int64 [steps].
    """
    if drop_remainder:
        return np.full(rows // world.size // batch_size, batch_size, np.int64)
    steps = math.ceil(math.ceil(rows / world.size) / batch_size)
    start, stop = world.share(rows)
    sizes = np.clip(stop - start - np.arange(steps) * batch_size, 0, batch_size)
    if steps > 1 and sizes[-1] == 0 and sizes[-2] > 1:
        sizes[-2:] = sizes[-2] - 1, 1
    return sizes


@dataclass(frozen=True)
class Piece:
    """Some rows of one row group: [start, stop), counted from its first row."""

    group: RowGroup
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class RowStream:
    """The rows of one rank in the order of one pass.

    In order, or shuffled: pieces of row groups in random order fill a buffer whose rows are
    then permuted, buffer after buffer. The order depends on the seed and the pass only.

    Args:
        table: where the rows are.
        start, stop: the rows of this rank, half open.
        buffer_rows: rows that are mixed with one another; 0 keeps the order of the table.
    """

    def __init__(self, table: Table, start: int, stop: int, buffer_rows: int = 0) -> None:
        self.table = table
        self.start, self.stop = start, stop
        self.buffer_rows = buffer_rows

    def read(self, epoch: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        """Record batches of any size that hold the rows of pass `epoch` after the first `skip`."""
        if not self.buffer_rows:
            yield from self.table.batches(self.start + skip, self.stop)
            return
        generator = np.random.default_rng([SEED, epoch])
        for pieces in self._buffers(generator):
            rows = sum(map(len, pieces))
            order = generator.permutation(rows)
            if skip >= rows:  # Known from the metadata: nothing of it is read.
                skip -= rows
                continue
            buffer = pa.Table.from_batches(
                [
                    batch
                    for piece in pieces
                    for batch in self.table.group_rows(piece.group, piece.start, piece.stop)
                ]
            ).combine_chunks()
            yield from buffer.take(order[skip:]).combine_chunks().to_batches()
            skip = 0

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
        for place in generator.permutation(len(pieces)):
            filling.append(pieces[place])
            if sum(map(len, filling)) >= self.buffer_rows:
                yield filling
                filling = []
        if filling:
            yield filling


def cut(stream: Iterator[pa.RecordBatch], sizes: np.ndarray, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of `stream` as batches of exactly these sizes, one after the other."""
    rest: pa.RecordBatch | None = None
    for size in sizes.tolist():
        parts: list[pa.RecordBatch] = []
        while size:
            batch = next(stream) if rest is None else rest
            parts.append(batch.slice(0, size))
            rest = batch.slice(size) if batch.num_rows > size else None
            size -= parts[-1].num_rows
        if len(parts) == 1:
            yield parts[0]
        else:
            yield pa.concat_batches(parts) if parts else pa.RecordBatch.from_pylist([], schema)
