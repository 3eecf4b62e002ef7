"""The hit rate by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tzrec.retrieval.baselines import popular_hit_rate, random_hit_rate
from tzrec.retrieval.hit_rate import Excluded, Tally, Truth, encode_truth, find_ranks, merge, row_rates
from tzrec.retrieval.ids import read_id_lists
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
    ranks = find_ranks(np.array([[1, -1], [-1, -1], [0, 1], [0, 1]])[:, None], truth)
    assert ranks.tolist() == [0, 2, 2]
    found = Tally.of(ranks, truth, 2)
    assert found.by_rank.tolist() == [1, 0]
    assert (found.items, found.rows, found.without, found.absent) == (3, 2, 2, 1)
    np.testing.assert_array_equal(row_rates(ranks < 2, truth), [0.5, 0.0, np.nan, np.nan])


def test_ranks_give_every_k_at_once():
    truth = Truth(np.array([0, 0, 1]), np.array([7, 5, 5]), 2)
    # Two interests: 7 is second for the first one and third for the other, 5 first for the other.
    found = np.array([[[1, 7, 2], [5, 3, 7]], [[1, 2, 3], [4, 6, 5]]])
    ranks = find_ranks(found, truth)
    assert ranks.tolist() == [1, 0, 2]
    total = Tally.of(ranks, truth, 3)
    assert [total.hits(k) for k in (1, 2, 3)] == [1, 2, 3]
    assert total.rate(2) == 2 / 3


def test_excluded_items_by_row():
    excluded = Excluded(Truth(np.array([0, 0, 2, 2]), np.array([3, -1, 0, 3]), 3), 4)
    assert excluded.sizes.tolist() == [1, 0, 2]
    found = np.array([[3, 0, -1], [3, 0, -1], [3, 1, 0]])
    expected = [[True, False, False], [False] * 3, [True, False, True]]
    assert excluded.has(np.arange(3), found).tolist() == expected
    assert excluded.part(1, 3).has(np.arange(2), found[1:]).tolist() == expected[1:]
    again = excluded.of_rows(np.array([0, 2, 2]))
    assert again.has(np.arange(3), found[[0, 2, 2]]).tolist() == [expected[row] for row in (0, 2, 2)]


def test_the_total_weighs_items_not_rows():
    one, none = np.array([1]), np.array([0])
    parts = [Tally(one, 1, 1), Tally(none, 3, 1), Tally(none, without=2)]
    total = sum(parts, Tally.nothing(1))
    assert (total.rate(1), total.rows, total.without) == (0.25, 2, 2)
    assert math.isnan(Tally.nothing(1).rate(1))


def test_nothing_retrieved():
    truth = truth_of(pa.array([10, 20]))
    assert find_ranks(np.empty((2, 1, 0), np.int64), truth).tolist() == [0, 0]
    assert Tally.of(np.array([3, 3]), truth, 3).hits(3) == 0


def test_interests_merge_to_one_list():
    scores = np.array([[[9.0, 5.0, 1.0], [8.0, 5.0, 4.0]]], np.float32)
    positions = np.array([[[3, 7, 2], [7, 3, -1]]])
    best, items = merge(scores, positions, larger_is_nearer=True)
    # 3 has 9 and 5, 7 has 5 and 8, 2 has 1; an empty slot has whatever score stands there.
    assert items.tolist() == [[3, 7, 2, -1, -1, -1]]
    assert best[0, :3].tolist() == [9, 8, 1]
    assert merge(scores, positions, True, keep=2)[1].tolist() == [[3, 7]]
    # As distances: 2 at 1, then 3 and 7 at 5, of which 3 stands first in the pool.
    assert merge(scores, positions, larger_is_nearer=False)[1].tolist() == [[2, 3, 7, -1, -1, -1]]


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
