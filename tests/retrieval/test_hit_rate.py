"""The hit rate by hand, and against a reference that is a plain loop."""

import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.retrieval.baselines import popular_hit_rate, random_hit_rate
from tzrec.retrieval.hit_rate import Tally, encode_truth, find_hits, merge, row_rates, tally
from tzrec.retrieval.ids import read_id_lists
from tzrec.retrieval.index import plan_ivf
from tzrec.retrieval.items import ItemTable, Pool, build_pool
from tzrec.retrieval.users import Retrieval, UserTable, details_schema, score
from tzrec.retrieval.vectors import Place

POOL = pa.array(["10", "20", "30", "40"], pa.large_string())


def truth_of(column):
    return encode_truth(*read_id_lists(column, Place("t", "c")), len(column), POOL)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["20,20,10", "99", "", None]),
        pa.array([[20, 20, 10], [99], [], None], pa.list_(pa.int64())),
        pa.array([["20", "20", "10"], ["99"], [], [None]], pa.large_list(pa.string())),
    ],
    ids=["text", "integers", "list of text"],
)
def test_ground_truth_is_a_set_and_may_be_missing(column):
    truth = truth_of(column)
    assert truth.rows.tolist() == [0, 0, 1]
    assert truth.items.tolist() == [1, 0, -1]
    # Row 0 is given 20 and an empty slot, row 1 nothing at all.
    hits = find_hits(np.array([[1, -1], [-1, -1], [0, 1], [0, 1]]), truth)
    assert hits.tolist() == [True, False, False]
    assert tally(hits, truth) == Tally(hits=1, items=3, rows=2, without=2, absent=1)
    np.testing.assert_array_equal(row_rates(hits, truth), [0.5, 0.0, np.nan, np.nan])


def test_the_total_weighs_items_not_rows():
    parts = [Tally(1, 1, 1), Tally(0, 3, 1), Tally(without=2)]
    total = sum(parts, Tally())
    assert (total.rate, total.rows, total.without) == (0.25, 2, 2)
    assert math.isnan(Tally().rate)


def test_nothing_retrieved():
    truth = truth_of(pa.array([10, 20]))
    assert not find_hits(np.empty((2, 0), np.int64), truth).any()


def test_interests_merge_to_one_list():
    scores = np.array([[[9.0, 5.0, 1.0], [8.0, 5.0, 4.0]]], np.float32)
    positions = np.array([[[3, 7, 2], [7, 3, -1]]])
    best, items = merge(scores, positions, larger_is_nearer=True)
    # 3 has 9 and 5, 7 has 5 and 8, 2 has 1; an empty slot has whatever score stands there.
    assert items.tolist() == [[3, 7, 2, -1, -1, -1]]
    assert best[0, :3].tolist() == [9, 8, 1]
    assert merge(scores, positions, True, keep=2)[1].tolist() == [[3, 7]]
    # As distances: 2 at 1, 3 at 5 (the second interest), 7 at 5 (the first, so it goes first).
    assert merge(scores, positions, larger_is_nearer=False)[1].tolist() == [[2, 7, 3, -1, -1, -1]]


@given(st.data())
def test_merging_is_what_a_loop_does(data):
    rows, interests, k = (data.draw(st.integers(1, 4)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    scores = rng.permutation(rows * interests * k).reshape(rows, interests, k).astype(np.float32)
    positions = rng.integers(-1, 5, (rows, interests, k))
    best, items = merge(scores, positions, True)
    for row in range(rows):
        expected: dict[int, float] = {}
        for value, item in sorted(
            zip(scores[row].ravel(), positions[row].ravel(), strict=True), reverse=True
        ):
            if item >= 0:
                expected.setdefault(item, value)
        found = items[row] >= 0
        assert items[row][found].tolist() == list(expected)
        assert best[row][found].tolist() == list(expected.values())
        assert not found[len(expected) :].any()


class Case:
    """A pool and user rows in several files, with what a plain loop makes of them."""

    def __init__(self, folder: Path, rows=97, interests=1, seed=0):
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((60, 4)).astype(np.float32)
        self.ids = [2**53 + 1 + i for i in range(60)]
        users = rng.standard_normal((rows, interests, 4)).astype(np.float32)
        gt = [
            [self.ids[i] for i in rng.integers(0, 60, rng.integers(0, 4))] + [5] * (n % 9 == 0)
            for n in range(rows)
        ]
        pq.write_table(pa.table({"id": self.ids, "emb": vectors.tolist()}), folder / "items.parquet")
        (folder / "users").mkdir()
        table = pa.table(
            {"user": [n % 7 for n in range(rows)], "gt": gt, "vec": users.reshape(rows, -1).tolist()}
        )
        for part, start in enumerate(range(0, rows, 40)):
            path = folder / "users" / f"part-{part}.parquet"
            pq.write_table(table.slice(start, 40), path, row_group_size=13)
        items = ItemTable.open(str(folder / "items.parquet"), "--items", "id", "emb")
        plan = plan_ivf("IVFFlatIP", 60, 1, 1)
        self.pool: Pool = build_pool(items, plan, items.sample(60))
        self.users = UserTable.open(str(folder / "users"), "--users", "user", "gt", "vec", interests)
        self.gt, self.rows = gt, rows
        self.scores = np.einsum("nid,md->nim", users, vectors)

    def expected(self, k, across):
        hits = 0
        for row, wanted in enumerate(self.gt):
            if across:
                given = np.argsort(-self.scores[row].max(0))[:k]
            else:
                given = np.argsort(-self.scores[row], axis=1)[:, :k].ravel()
            hits += len(set(wanted) & {self.ids[i] for i in given})
        return hits, sum(len(set(wanted)) for wanted in self.gt)


@pytest.mark.parametrize(("interests", "across"), [(1, False), (3, False), (3, True)])
def test_the_tally_is_what_a_loop_counts(tmp_path, interests, across):
    case = Case(tmp_path, interests=interests)
    total = score(case.users, 0, case.rows, case.pool, Retrieval(10, True, 32, across))
    assert (total.hits, total.items) == case.expected(10, across)
    assert total.rows + total.without == case.rows
    assert total.without == sum(not wanted for wanted in case.gt)
    assert total.absent == sum(5 in wanted for wanted in case.gt)


@pytest.fixture(scope="module")
def case():
    with TemporaryDirectory() as folder:
        yield Case(Path(folder), interests=2)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 97), max_size=4), size=st.integers(1, 120), across=st.booleans())
def test_neither_ranks_nor_batches_change_the_number(case, cuts, size, across):
    whole = score(case.users, 0, 97, case.pool, Retrieval(7, True, 1024, across))
    edges = sorted([0, 97, *cuts])
    how = Retrieval(7, True, size, across)
    parts = [score(case.users, a, b, case.pool, how) for a, b in pairwise(edges)]
    assert sum(parts, Tally()) == whole
    assert whole.hits > 0


@pytest.mark.parametrize("size", [1, 10, 1024])
def test_details_stand_row_for_row(case, size):
    batches: list[pa.RecordBatch] = []
    done: list[int] = []
    total = score(
        case.users,
        5,
        90,
        case.pool,
        Retrieval(7, True, size),
        lambda scored: batches.append(scored.details(case.pool.ids).cast(details_schema(case.users))),
        done.append,
    )
    table = pa.Table.from_batches(batches)
    assert sum(done) == len(table) == 85
    assert table.column_names == ["id", "topk_ids", "topk_dists", "hitrate", "hit_ids"]
    hits = 0
    for n, row in enumerate(table.to_pylist(), 5):
        wanted = {str(i) for i in case.gt[n]}
        assert row["id"] == n % 7
        assert len(set(row["topk_ids"])) == len(row["topk_ids"]) == len(row["topk_dists"])
        assert row["topk_dists"] == sorted(row["topk_dists"], reverse=True)
        assert set(row["hit_ids"]) == wanted & set(row["topk_ids"])
        assert row["hitrate"] == (len(row["hit_ids"]) / len(wanted) if wanted else None)
        hits += len(row["hit_ids"])
    assert total.hits == hits


def test_most_popular_items():
    train = [20, 30, 20, 99, 99, 99, 30, 10]
    rows = [[20, 40], [30], [], [99]]
    # 99 is not in the pool; 20 and 30 were seen twice, 10 once; four ground-truth items.
    pool = [10, 20, 30, 40]
    assert popular_hit_rate(train, rows, pool, 1) == 1 / 4
    assert popular_hit_rate(train, rows, pool, 2) == 2 / 4
    assert popular_hit_rate(pa.array(["20"]), ["20,40", "30", None, "99"], [str(i) for i in pool], 1) == 1 / 4
    assert popular_hit_rate(train, rows, pool, 9) == 3 / 4
    assert popular_hit_rate([], rows, pool, 1) == 0
    assert math.isnan(popular_hit_rate(train, [[], []], pool, 1))
    assert math.isnan(popular_hit_rate(train, [], pool, 1))


def test_random_items():
    assert random_hit_rate(1000, 200) == 0.2
    assert random_hit_rate(100, 200) == 1.0
    assert random_hit_rate(1000, 200, in_pool=0.5) == 0.1
    with pytest.raises(ValueError, match="pool_size 0"):
        random_hit_rate(0, 1)
