"""What a hit rate is to be compared with: the most popular items, and items drawn at random."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.datasets.parquet import ParquetTable
from tzrec.retrieval.hit_rate import encode_truth, find_ranks
from tzrec.retrieval.ids import as_text, read_id_lists
from tzrec.retrieval.vectors import Place, plain
from tzrec.runtime.world import World

# A Python sequence, a NumPy array or an Arrow array.
Ids = Any
# Rows that are looked up at once: the look-up hashes all ids of the pool.
COUNTED_ROWS = 1 << 20


def _arrow(values: Ids) -> pa.Array:
    return plain(values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values))


def _texts(ids: Ids, name: str) -> pa.Array:
    return as_text(_arrow(ids), Place(name, name))


def count_items(world: World, paths: str, flag: str, field: str, pool: pa.Array) -> np.ndarray:
    """How often each item of the pool stands in this rank's share of a table's rows.

    Args:
        world: the place of this process.
        paths: of the table.
        flag: what to call the table in an error.
        field: its column: an id, text with ",", or a list of ids a row.
        pool: large_string [N], ids of the items.

    Returns:
        int64 [N].

    Raises:
        UserError: a table that cannot be read, ids of another type.
    """
    table = ParquetTable(paths, [field], flag)
    start, stop = world.share(table.num_rows)
    counts = np.zeros(len(pool), np.int64)
    for batch in table.batches(start, stop, COUNTED_ROWS):
        texts, _ = read_id_lists(batch.column(field), Place(flag, field, start))
        seen = pc.index_in(texts, value_set=pool).drop_null().to_numpy(zero_copy_only=False)
        counts += np.bincount(seen, minlength=len(pool))
        start += len(batch)
    return counts


def popular_hit_rate(train_item_ids: Ids, gt_rows: Ids, pool_ids: Ids, k: int) -> float:
    """Hit rate when every row is given the k items of the pool that training saw most often.

    Of items seen equally often the one that stands first in the pool goes first.

    Args:
        train_item_ids: one id a training row, with repetitions; integers or text.
        gt_rows: ground truth of each row: one id, text with ",", or a list of ids, as a column holds it.
        pool_ids: ids of the pool, each once.
        k: how many items are retrieved.

    Returns:
        All hits over all ground-truth items; NaN when there is none.
    """
    pool = _texts(pool_ids, "pool_ids")
    seen = pc.index_in(_texts(train_item_ids, "train_item_ids"), value_set=pool).drop_null()
    counts = np.bincount(seen.to_numpy(zero_copy_only=False), minlength=len(pool))
    top = np.argsort(-counts, kind="stable")[:k]
    rows = _arrow(gt_rows)
    truth = encode_truth(*read_id_lists(rows, Place("gt_rows", "gt_rows")), len(rows), pool)
    if not len(truth.rows):
        return float("nan")
    # One row that holds all pairs: what is retrieved is the same for every row.
    ranks = find_ranks(top[None, None, :].astype(np.int64), truth._replace(rows=np.zeros_like(truth.rows)))
    return float((ranks < len(top)).mean())


def random_hit_rate(pool_size: int, k: int, in_pool: float = 1.0) -> float:
    """Expected hit rate when every row is given k different items of the pool drawn at random.

    Each ground-truth item of the pool is drawn with probability k / pool_size, whatever else
    the row asks for, so the expectation is exact.

    Args:
        pool_size: items in the pool.
        k: how many are drawn; all of them when there are fewer.
        in_pool: share of the ground-truth items that the pool holds.

    Raises:
        ValueError: an empty pool, or a share outside [0, 1].
    """
    if pool_size < 1 or k < 0 or not 0 <= in_pool <= 1:
        raise ValueError(
            f"pool_size {pool_size}, k {k}, in_pool {in_pool}: wanted >= 1, >= 0 and within [0, 1]"
        )
    return in_pool * min(k, pool_size) / pool_size
