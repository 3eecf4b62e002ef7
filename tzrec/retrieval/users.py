"""The table of user vectors with their ground truth, scored against a pool in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.datasets.parquet import ParquetTable
from tzrec.retrieval.collapse import given_short, half_tied
from tzrec.retrieval.hit_rate import (
    Excluded,
    Tally,
    Truth,
    encode_truth,
    find_ranks,
    merge,
    row_rates,
)
from tzrec.retrieval.ids import read_id_lists
from tzrec.retrieval.measures import Scored
from tzrec.retrieval.pool import Pool
from tzrec.retrieval.vectors import Interests, Place, plain, read_interests

# Rows whose ground truth is looked up at once: the look-up hashes all ids of the pool.
LOOKUP_ROWS = 16384
# Retrieved items that are held at once.
HELD = 1 << 23


@dataclass(frozen=True)
class UserTable:
    """Parquet rows of a request: its id, its ground truth, its vectors.

    Attributes:
        table: the files.
        flag: what the user calls the table.
        id_field, gt_field, vector_field: names of the columns.
        interests: how many vectors a row may hold.
        interests_field: column that says how many of them count; None when all do.
        exclude_field: column of the items that a row must not be given; None when it may have all.
    """

    table: ParquetTable
    flag: str
    id_field: str
    gt_field: str
    vector_field: str
    interests: int = 1
    interests_field: str | None = None
    exclude_field: str | None = None

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
        exclude_field: str | None = None,
    ) -> "UserTable":
        """Opens the files.

        Raises:
            UserError: no file, no such column.
        """
        wanted = [id_field, gt_field, vector_field, interests_field, exclude_field]
        table = ParquetTable(paths, list(dict.fromkeys(name for name in wanted if name)), flag)
        return cls(table, flag, id_field, gt_field, vector_field, interests, interests_field, exclude_field)

    def place(self, column: str, row: int) -> Place:
        return Place(self.flag, column, row)

    def chunks(self, start: int, stop: int, rows: int) -> Iterator[tuple[int, pa.Table]]:
        """The rows [start, stop) in tables of `rows` rows (the last may have fewer), with their first row."""
        held: list[pa.RecordBatch] = []
        count = 0
        for batch in self.table.batches(start, stop, rows):
            held.append(batch)
            count += len(batch)
            if count >= rows:
                table = pa.Table.from_batches(held)
                yield start, table.slice(0, rows)
                start += rows
                held, count = table.slice(rows).to_batches(), count - rows
        if held:
            yield start, pa.Table.from_batches(held)


@dataclass(frozen=True)
class Retrieval:
    """How rows are searched.

    Attributes:
        top_k: items an interest is given.
        batch_size: rows searched at once.
        across: with several interests, the best `top_k` of all together, not the union.
        every_row: search rows without ground truth too.
    """

    top_k: int
    batch_size: int = 1024
    across: bool = False
    every_row: bool = False


def details(scored: Scored, ids: pa.Array) -> pa.RecordBatch:
    """The rows as `details_schema` has them; a row without ground truth has no hit rate."""
    there, hits, truth = scored.positions >= 0, scored.hits, scored.truth
    rates = row_rates(hits, truth)
    hit_counts = np.bincount(truth.rows, hits, minlength=len(rates)).astype(np.int64)
    return pa.record_batch(
        {
            "id": scored.request_ids,
            "topk_ids": _lists(_take(ids, scored.positions[there]), there.sum(1)),
            "topk_dists": _lists(pa.array(scored.scores[there], pa.float32()), there.sum(1)),
            "hitrate": pa.array(rates, pa.float64(), mask=np.isnan(rates)),
            "hit_ids": _lists(_take(ids, truth.items[hits]), hit_counts),
        }
    )


def _take(ids: pa.Array, positions: np.ndarray) -> pa.Array:
    return ids.take(pa.array(positions)).cast(pa.string())


def _lists(values: pa.Array, sizes: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def details_schema(users: UserTable) -> pa.Schema:
    """Columns of the details, the id as the user table has it."""
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


def _retrieve(
    pool: Pool,
    interests: Interests,
    count: int,
    how: Retrieval,
    excluded: Excluded | None,
    on_done: Callable[[float], object],
) -> tuple[np.ndarray, np.ndarray]:
    """Items of `count` rows: scores and positions [count, I, K], as each interest is given them."""
    barred = None if excluded is None else excluded.of_rows(interests.rows)
    scores, positions = pool.search(interests.vectors, how.top_k, how.batch_size, barred, on_done)
    width = int(interests.slots.max(initial=0)) + 1
    shape = (count, width, how.top_k)
    all_scores, all_positions = np.full(shape, np.nan, np.float32), np.full(shape, -1, np.int64)
    all_scores[interests.rows, interests.slots] = scores
    all_positions[interests.rows, interests.slots] = positions
    if how.across and width > 1:
        all_scores, all_positions = merge(all_scores, all_positions, pool.larger_is_nearer, how.top_k)
        return all_scores[:, None], all_positions[:, None]
    return all_scores, all_positions


def _whole_rows(share: float, on_rows: Callable[[int], object]) -> Callable[[float], object]:
    """Tells fractions of queries as whole rows, `share` a query, for sums of fractions go past the end."""
    queries, said = 0.0, 0

    def done(more: float) -> None:
        nonlocal queries, said
        queries += more
        rows = int(queries * share + 1e-6)
        on_rows(rows - said)
        said = rows

    return done


def score(
    users: UserTable,
    start: int,
    stop: int,
    pool: Pool,
    how: Retrieval,
    on_scored: Callable[[Scored], object] | None = None,
    on_rows: Callable[[int], object] = lambda rows: None,
    on_vectors: Callable[[np.ndarray], object] = lambda vectors: None,
) -> Tally:
    """Hit rate of the rows [start, stop); tallies of disjoint ranges add up to that of their union.

    Args:
        users: the table.
        start, stop: the rows.
        pool: the items.
        how: how to search.
        on_scored: is called with every batch.
        on_rows: is called with the number of rows done since the last call.
        on_vectors: is called with the vectors that are searched for, float32 [V, D].

    Raises:
        UserError: a vector or a ground truth that cannot be read.
    """
    total = Tally.nothing(how.top_k)
    at_once = min(LOOKUP_ROWS, max(1, HELD // (how.top_k * users.interests)))
    for first, chunk in users.chunks(start, stop, at_once):
        truth = _items(users, users.gt_field, chunk, first, pool)
        excluded = None
        if users.exclude_field:
            excluded = Excluded(_items(users, users.exclude_field, chunk, first, pool), len(pool))
        interests = _interests(users, chunk, first, pool.dim)
        if not how.every_row:
            kept = (truth.sizes > 0)[interests.rows]
            interests = Interests(*(x[kept] for x in interests))
        on_vectors(interests.vectors)
        done = _whole_rows(len(chunk) / max(1, len(interests.rows)), on_rows)
        scores, found = _retrieve(pool, interests, len(chunk), how, excluded, done)
        ranks = find_ranks(found, truth)
        total += Tally.of(ranks, truth, how.top_k, excluded)
        total.tied += int(np.count_nonzero(half_tied(scores) & (truth.sizes > 0)))
        there = np.full(len(chunk), len(pool)) - (0 if excluded is None else excluded.sizes)
        # Nearly all of a small pool is more than a search of most of its lists can give.
        wanted = np.minimum(there, min(found.shape[2], len(pool) // 2))
        short = given_short(found, interests.rows, interests.slots, wanted)
        total.short += int(np.count_nonzero(short & (truth.sizes > 0)))
        if on_scored is not None:
            if found.shape[1] == 1:
                scores, positions = scores[:, 0], found[:, 0]
            else:
                scores, positions = merge(scores, found, pool.larger_is_nearer)
            on_scored(
                Scored(
                    first,
                    plain(chunk.column(users.id_field)),
                    scores,
                    positions,
                    truth,
                    ranks,
                    found,
                    excluded,
                    interests.vectors,
                    interests.rows,
                )
            )
    return total


def _items(users: UserTable, field: str, chunk: pa.Table, first: int, pool: Pool) -> Truth:
    texts, rows = read_id_lists(chunk.column(field), users.place(field, first))
    return encode_truth(texts, rows, len(chunk), pool.ids)


def _interests(users: UserTable, chunk: pa.Table, row: int, dim: int) -> Interests:
    valid = chunk.column(users.interests_field) if users.interests_field else None
    place = users.place(users.vector_field, row)
    return read_interests(chunk.column(users.vector_field), place, dim, users.interests, valid)
