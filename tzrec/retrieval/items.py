"""The table of item vectors: its ids, its vectors, a sample to train on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.datasets.parquet import ParquetTable
from tzrec.retrieval.ids import read_ids
from tzrec.retrieval.index import sample_rows
from tzrec.retrieval.vectors import Place, read_vectors
from tzrec.runtime.errors import UserError

# Rows read at once where the caller does not say: the index must not depend on it.
BLOCK_ROWS = 16384


@dataclass(frozen=True)
class ItemTable:
    """Parquet rows of an id and a vector.

    Attributes:
        table: the files.
        flag: what the user calls the table.
        id_field: column of the ids: integers or text.
        vector_field: column of the vectors.
    """

    table: ParquetTable
    flag: str
    id_field: str
    vector_field: str

    @classmethod
    def open(cls, paths: str, flag: str, id_field: str, vector_field: str) -> "ItemTable":
        """Opens the files.

        Raises:
            UserError: no file, no such column, no row.
        """
        table = ParquetTable(paths, list(dict.fromkeys((id_field, vector_field))), flag)
        if not table.num_rows:
            raise UserError(f"{flag}: {paths} has no row; an index needs at least one item")
        return cls(table, flag, id_field, vector_field)

    def __len__(self) -> int:
        return self.table.num_rows

    def place(self, column: str, row: int) -> Place:
        return Place(self.flag, column, row)

    def blocks(self, dim: int, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Ids (large_string) and vectors (float32 [n, dim]) of all rows, at most `rows` at once."""
        done = 0
        for batch in self.table.batches(0, len(self), rows):
            ids = read_ids(batch.column(self.id_field), self.place(self.id_field, done))
            vectors = read_vectors(batch.column(self.vector_field), self.place(self.vector_field, done), dim)
            yield ids, vectors
            done += batch.num_rows

    def sample(self, count: int) -> np.ndarray:
        """`count` vectors, or all when there are fewer: float32 [S, dim], the same ones every time."""
        chosen, parts, done = sample_rows(len(self), max(1, count)), [], 0
        dim = None
        for batch in self.table.batches(0, len(self), BLOCK_ROWS):
            low, high = np.searchsorted(chosen, [done, done + batch.num_rows])
            if low < high:
                place = self.place(self.vector_field, done)
                vectors = read_vectors(batch.column(self.vector_field), place, dim)
                dim = vectors.shape[1]
                parts.append(vectors[chosen[low:high] - done])
            done += batch.num_rows
        return np.concatenate(parts)


def refuse_duplicates(ids: pa.Array, place: Place) -> None:
    """Raises UserError when an id stands in two rows."""
    codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    if len(first) == len(codes):
        return
    again = np.ones(len(codes), bool)
    again[first] = False
    row = int(np.flatnonzero(again)[0])
    before = int(np.flatnonzero(codes == codes[row])[0])
    count = int(again.sum())
    raise place.error(
        row,
        f"the id {ids[row].as_py()!r} stands in row {before} already ({count:,} such rows); one row an item",
    )
