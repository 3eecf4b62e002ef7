"""Edges: those of a batch's users, and a weighted draw of a few of each."""

import numpy as np
import pyarrow as pa
import pytest

from tzrec.datasets.edges import Edges, ranges
from tzrec.datasets.keys import keys_of

#              user, item, weight
EDGES = [(5, 1, 1.0), (3, 0, 1.0), (5, 0, 3.0), (5, 2, 6.0), (3, 4, 0.0), (7, 3, 1.0), (5, 1, 1.0)]


def edges() -> Edges:
    users, items, weights = map(np.array, zip(*EDGES, strict=True))
    return Edges.build(users, items, weights)


def test_an_edge_twice_is_one_and_one_of_weight_zero_is_none() -> None:
    built = edges()
    assert built.users.tolist() == [3, 5, 7]
    assert built.offsets.tolist() == [0, 1, 4, 5]
    assert built.items.tolist() == [0, 0, 1, 2, 3]
    assert built.weights.tolist() == [1.0, 3.0, 2.0, 6.0, 1.0]


def test_all_edges_of_a_batch() -> None:
    items, rows = edges().of(pa.array([5, 99, None, 3, 5]))
    assert rows.tolist() == [0, 0, 0, 3, 4, 4, 4]
    assert items.tolist() == [0, 1, 2, 0, 0, 1, 2]


def test_text_ids() -> None:
    users = keys_of(pa.array(["ann", "bob"]), text_ids=True)
    built = Edges.build(users, np.array([4, 9]), np.ones(2), text_ids=True)
    items, rows = built.of(pa.array(["bob", "carl", "ann"]))
    assert (items.tolist(), rows.tolist()) == ([9, 4], [0, 2])


def test_no_edges_at_all() -> None:
    none = Edges.build(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    assert [part.tolist() for part in none.of(pa.array([1, 2]))] == [[], []]
    assert [part.tolist() for part in none.draw(pa.array([1]), 3, np.random.default_rng(0))] == [[], []]


def test_a_user_with_few_edges_has_them_all() -> None:
    items, rows = edges().draw(pa.array([3, 5]), 3, np.random.default_rng(0))
    assert rows.tolist() == [0, 1, 1, 1]
    assert (items[0], sorted(items[1:].tolist())) == (0, [0, 1, 2])


def test_of_more_edges_the_draw_follows_the_weights() -> None:
    # One of weights 3, 2, 6; of two draws without replacement the first follows the weights and
    # the second those of the rest: P(item 1 is left out) = 3/11 * 6/8 + 6/11 * 3/5.
    users = pa.array([5] * 20_000)
    first, _ = edges().draw(users, 1, np.random.default_rng(1))
    assert np.bincount(first) / 20_000 == pytest.approx([3 / 11, 2 / 11, 6 / 11], abs=0.015)
    both, rows = edges().draw(users, 2, np.random.default_rng(2))
    assert len(both) == 40_000
    assert 1 - np.mean(np.isin(np.arange(20_000), rows[both == 1])) == pytest.approx(
        3 / 11 * 6 / 8 + 6 / 11 * 3 / 5, abs=0.015
    )


def test_what_is_barred_is_as_if_it_had_no_edge() -> None:
    # The first row has four edges, of which items 1 and 3 are barred; the second has all of them barred
    # but one, the third (few edges) one of two.
    users = np.array([1, 1, 1, 1, 1, 2, 2, 2, 4, 4])
    items = np.array([0, 1, 2, 3, 4, 0, 1, 2, 5, 6])
    weights = np.array([1.0, 9.0, 2.0, 9.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    built = Edges.build(users, items, weights)
    taboo = [{1, 3}, {0, 2}, {6}]

    def barred(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        pairs = zip(rows.tolist(), items.tolist(), strict=True)
        return np.array([item in taboo[row % 3] for row, item in pairs], bool)

    batch = pa.array([1, 2, 4] * 4000)
    found, rows = built.draw(batch, 2, np.random.default_rng(3), barred, 2)
    assert np.bincount(rows % 3).tolist() == [8000, 4000, 4000]
    assert set(found[rows % 3 == 1].tolist()) == {1}
    assert set(found[rows % 3 == 2].tolist()) == {5}
    # Of weights 1, 2, 5 two are drawn: what is left out has probabilities as worked below.
    first = np.bincount(found[rows % 3 == 0], minlength=5)
    assert first[[1, 3]].tolist() == [0, 0]
    left_out = [2 / 8 * 5 / 6 + 5 / 8 * 2 / 3, 1 / 8 * 5 / 7 + 5 / 8 * 1 / 3, 1 / 8 * 2 / 7 + 2 / 8 * 1 / 6]
    assert 1 - first[[0, 2, 4]] / 4000 == pytest.approx(left_out, abs=0.03)


def test_ranges() -> None:
    assert ranges(np.array([5, 0, 2]), np.array([2, 0, 3])).tolist() == [5, 6, 2, 3, 4]
    assert ranges(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []
