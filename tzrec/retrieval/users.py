"""The table of user vectors with their ground truth, scored against a pool in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tzrec.datasets.parquet import ParquetTable
from tzrec.retrieval.hit_rate import Tally, Truth, encode_truth, find_hits, merge, row_rates, tally
from tzrec.retrieval.ids import read_id_lists
from tzrec.retrieval.index import search
from tzrec.retrieval.items import Pool
from tzrec.retrieval.vectors import Interests, Place, plain, read_interests

# Rows whose ground truth is looked up at once: the look-up hashes all ids of the pool.
LOOKUP_ROWS = 65536


@dataclass(frozen=True)
class UserTable:
    """Parquet rows of a request: its id, its ground truth, its vectors.

    Attributes:
        table: the files.
        flag: what the user calls the table.
        id_field, gt_field, vector_field: names of the columns.
        interests: how many vectors a row may hold.
        interests_field: column that says how many of them count; None when all do.
    """

    table: ParquetTable
    flag: str
    id_field: str
    gt_field: str
    vector_field: str
    interests: int = 1
    interests_field: str | None = None

    @classmethod
    def open(
        cls,
        paths: str,
        flag: str,
        id_field: str,
        gt_field: str,
        vector_field: str,
        interests: int = 1,
        interests_field: str | None = None,
    ) -> "UserTable":
        """Opens the files.

        Raises:
            UserError: no file, no such column.
        """
        wanted = [id_field, gt_field, vector_field] + ([interests_field] if interests_field else [])
        table = ParquetTable(paths, list(dict.fromkeys(wanted)), flag)
        return cls(table, flag, id_field, gt_field, vector_field, interests, interests_field)

    def place(self, column: str, row: int) -> Place:
        return Place(self.flag, column, row)

    def chunks(self, start: int, stop: int, rows: int) -> Iterator[tuple[int, pa.Table]]:
        """The rows [start, stop) in tables of `rows` rows (the last may have fewer), with their first row."""
        held: list[pa.RecordBatch] = []
        for batch in self.table.batches(start, stop, rows):
            held.append(batch)
            if sum(len(part) for part in held) >= rows:
                table = pa.Table.from_batches(held)
                yield start, table.slice(0, rows)
                start += rows
                held = table.slice(rows).to_batches()
        if held:
            yield start, pa.Table.from_batches(held)


@dataclass(frozen=True)
class Retrieval:
    """How rows are searched.

    Attributes:
        top_k: items an interest is given.
        larger_is_nearer: True for inner products.
        batch_size: rows searched at once.
        across: with several interests, the best `top_k` of all together, not the union.
    """

    top_k: int
    larger_is_nearer: bool
    batch_size: int = 1024
    across: bool = False


class Scored(NamedTuple):
    """What became of some rows. Shapes as in `hit_rate`.

    Attributes:
        request_ids: Arrow array [B], as the table has them.
        scores: float32 [B, R], nearest first.
        positions: int64 [B, R], -1 for an empty slot, which are last.
        truth: ground truth of the rows.
        hits: bool [P].
    """

    request_ids: pa.Array
    scores: np.ndarray
    positions: np.ndarray
    truth: Truth
    hits: np.ndarray

    def details(self, ids: pa.Array) -> pa.RecordBatch:
        """The rows as DETAILS has them; a row without ground truth has no hit rate."""
        found = self.positions >= 0
        rates = row_rates(self.hits, self.truth)
        hit_counts = np.bincount(self.truth.rows, self.hits, minlength=len(rates)).astype(np.int64)
        return pa.record_batch(
            {
                "id": self.request_ids,
                "topk_ids": _lists(_take(ids, self.positions[found]), found.sum(1)),
                "topk_dists": _lists(pa.array(self.scores[found], pa.float32()), found.sum(1)),
                "hitrate": pa.array(rates, pa.float64(), mask=np.isnan(rates)),
                "hit_ids": _lists(_take(ids, self.truth.items[self.hits]), hit_counts),
            }
        )


def _take(ids: pa.Array, positions: np.ndarray) -> pa.Array:
    return ids.take(pa.array(positions)).cast(pa.string())


def _lists(values: pa.Array, sizes: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def details_schema(users: UserTable) -> pa.Schema:
    """Columns of the details, the id as the user table has it."""
    assert users.table.schema is not None
    kind = users.table.schema.field(users.id_field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    columns = {
        "id": kind,
        "topk_ids": pa.list_(pa.string()),
        "topk_dists": pa.list_(pa.float32()),
        "hitrate": pa.float64(),
        "hit_ids": pa.list_(pa.string()),
    }
    return pa.schema(list(columns.items()))


def retrieve(pool: Pool, interests: Interests, count: int, how: Retrieval) -> tuple[np.ndarray, np.ndarray]:
    """Items of `count` rows, nearest first: scores and positions [count, R]; -1 in empty slots, last."""
    scores, positions = search(pool.index, interests.vectors, how.top_k)
    width = int(interests.slots.max(initial=0)) + 1
    shape = (count, width, how.top_k)
    all_scores, all_positions = np.full(shape, np.nan, np.float32), np.full(shape, -1, np.int64)
    all_scores[interests.rows, interests.slots] = scores
    all_positions[interests.rows, interests.slots] = positions
    if width == 1:
        return all_scores[:, 0], all_positions[:, 0]
    return merge(all_scores, all_positions, how.larger_is_nearer, how.top_k if how.across else None)


def score(
    users: UserTable,
    start: int,
    stop: int,
    pool: Pool,
    how: Retrieval,
    on_scored: Callable[[Scored], None] | None = None,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> Tally:
    """Hit rate of the rows [start, stop); tallies of disjoint ranges add up to that of their union.

    Args:
        users: the table.
        start, stop: the rows.
        pool: the items.
        how: how to search.
        on_scored: is called with every batch; without it rows that have no ground truth are not searched.
        on_rows: is called with the number of rows done since the last call.

    Raises:
        UserError: a vector or a ground truth that cannot be read.
    """
    total, size = Tally(), how.batch_size
    for first, chunk in users.chunks(start, stop, max(size, LOOKUP_ROWS // size * size)):
        place = users.place(users.gt_field, first)
        texts, rows = read_id_lists(chunk.column(users.gt_field), place)
        truths = encode_truth(texts, rows, len(chunk), pool.ids)
        for low in range(0, len(chunk), size):
            batch = chunk.slice(low, size)
            truth = truths.part(low, low + len(batch))
            interests = _interests(users, batch, first + low, pool.index.d)
            if on_scored is None:
                kept = (truth.sizes > 0)[interests.rows]
                interests = Interests(*(x[kept] for x in interests))
            scores, positions = retrieve(pool, interests, len(batch), how)
            hits = find_hits(positions, truth)
            total += tally(hits, truth)
            if on_scored is not None:
                request_ids = plain(batch.column(users.id_field))
                on_scored(Scored(request_ids, scores, positions, truth, hits))
            on_rows(len(batch))
    return total


def _interests(users: UserTable, batch: pa.Table, row: int, dim: int) -> Interests:
    valid = batch.column(users.interests_field) if users.interests_field else None
    place = users.place(users.vector_field, row)
    return read_interests(batch.column(users.vector_field), place, dim, users.interests, valid)
