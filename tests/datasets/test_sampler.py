"""Negatives: frequencies follow the weights, the batch is never hit, the same seed draws the same."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.edges import Edges
from tzrec.datasets.negative_table import open_table
from tzrec.datasets.sampler import Exclusion, NegativeSampler
from tzrec.runtime.errors import UserError

TYPES = [AttributeType("item", pa.int64(), "\x1d"), AttributeType("tag", pa.string(), "\x1d")]


def pool(folder: Path, weights: list[float], text_ids: bool = False):
    kind, prefix = ("string", "i") if text_ids else ("int64", "")
    lines = [f"id:{kind}\tweight:float\tattrs:string"]
    lines += [f"{prefix}{number}\t{weight}\t{number}:t{number}" for number, weight in enumerate(weights)]
    path = folder / "table.txt"
    path.write_text("\n".join(lines) + "\n")
    return open_table(str(path), TYPES, ":", "\t", folder / "cache")


def shared(sampler: NegativeSampler, items: pa.Array, seed: int = 0) -> np.ndarray:
    return sampler.draw({"item": items}, np.random.default_rng(seed)).shared


# Chi-square at 99.99 %, for 9 and for 7 degrees of freedom: scipy.stats.chi2.ppf(0.9999, d).
CRITICAL = {9: 33.72, 7: 29.88}


@pytest.mark.parametrize(
    "weights", [[1.0] * 12, [float(2**n) for n in range(12)], [0.0, 5.0, 0.0] + [1.0] * 9]
)
def test_frequencies_follow_the_weights_among_the_allowed(tmp_path: Path, weights: list[float]) -> None:
    sampler = NegativeSampler(pool(tmp_path, weights), 50_000, "item")
    batch = pa.array([3, 7, 7])
    drawn = shared(sampler, batch, 1)
    counts = np.bincount(drawn, minlength=len(weights))
    assert counts[[3, 7]].sum() == 0
    allowed = np.array(weights)
    allowed[[3, 7]] = 0
    assert counts[allowed == 0].sum() == 0
    kept = allowed > 0
    expected = allowed[kept] / allowed.sum() * 50_000
    statistic = ((counts[kept] - expected) ** 2 / expected).sum()
    assert statistic < CRITICAL[int(kept.sum()) - 1]


def test_a_batch_that_holds_nearly_all_weight(tmp_path: Path) -> None:
    table = pool(tmp_path, [1e9, 1e9, 1.0, 3.0])
    drawn = shared(NegativeSampler(table, 40_000, "item"), pa.array([0, 1]))
    assert np.bincount(drawn, minlength=4).tolist()[:2] == [0, 0]
    assert np.mean(drawn == 3) == pytest.approx(0.75, abs=0.01)


def test_a_batch_that_holds_the_whole_pool_is_an_error(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0, 1.0, 0.0]), 4, "item")
    with pytest.raises(UserError, match="forbids all 2 items of the pool that have weight"):
        shared(sampler, pa.array([0, 1]))


def test_a_pool_smaller_than_asked_for_is_drawn_with_replacement(tmp_path: Path) -> None:
    drawn = shared(NegativeSampler(pool(tmp_path, [1.0] * 3), 100, "item"), pa.array([0]))
    assert len(drawn) == 100
    assert set(drawn.tolist()) == {1, 2}


def test_items_of_the_batch_that_the_pool_does_not_know(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0] * 3), 50, "item")
    assert set(shared(sampler, pa.array([999, None, -5])).tolist()) == {0, 1, 2}


def test_text_ids(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0] * 4, text_ids=True), 100, "item")
    drawn = shared(sampler, pa.array(["i1", "i2", "other"]))
    assert set(drawn.tolist()) == {0, 3}


def test_extended_columns_are_positives_then_negatives(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0] * 5), 3, "item")
    columns = {"item": pa.array([1, 2], pa.int32()), "tag": pa.array(["x", "y"]), "user": pa.array([8, 9])}
    drawn = sampler.draw(columns, np.random.default_rng(4))
    extended = sampler.extend(columns, ["item", "tag"], drawn)
    assert sorted(extended) == ["item", "tag"]
    items, tags = extended["item"].to_pylist(), extended["tag"].to_pylist()
    assert extended["item"].type == pa.int32()
    assert (items[:2], tags[:2]) == ([1, 2], ["x", "y"])
    assert tags[2:] == [f"t{number}" for number in items[2:]]
    again = sampler.draw(columns, np.random.default_rng(4))
    assert again.shared.tolist() == drawn.shared.tolist()


def edges(*pairs: tuple[int, int]) -> Edges:
    users, items = np.array(pairs).T
    return Edges.build(users, items, np.ones(len(pairs)))


def test_frequencies_from_the_whole_pool_when_rows_skip_their_own(tmp_path: Path) -> None:
    weights = [0.0] + [float(n) for n in range(1, 11)]
    sampler = NegativeSampler(pool(tmp_path, weights), 50_000, "item", exclusion=Exclusion.ROW)
    drawn = sampler.draw({"item": pa.array([10, 3, 10])}, np.random.default_rng(1))
    counts = np.bincount(drawn.shared, minlength=11)
    expected = np.array(weights[1:]) / sum(weights) * 50_000
    assert counts[0] == 0
    assert ((counts[1:] - expected) ** 2 / expected).sum() < CRITICAL[9]
    assert (np.diff(drawn.masked[0]) >= 0).all()
    masked = set(map(tuple, drawn.masked.T.tolist()))
    own = {0: 10, 1: 3, 2: 10}
    assert masked == {
        (row, place) for row, item in own.items() for place in np.flatnonzero(drawn.shared == item).tolist()
    }


def test_nothing_is_skipped(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0, 1.0]), 20, "item", exclusion=Exclusion.NOTHING)
    drawn = sampler.draw({"item": pa.array([0, 1])}, np.random.default_rng(1))
    assert (set(drawn.shared.tolist()), drawn.masked.size) == ({0, 1}, 0)


def test_items_that_users_of_the_batch_like_are_never_drawn(tmp_path: Path) -> None:
    sampler = NegativeSampler(
        pool(tmp_path, [1.0] * 8),
        500,
        "item",
        positive=edges((1, 2), (1, 3), (2, 3), (9, 5)),
        user_column="user",
    )
    columns = {"item": pa.array([7, 7, 7, 7]), "user": pa.array([2, 1, 4, None])}
    drawn = sampler.draw(columns, np.random.default_rng(0))
    assert set(drawn.shared.tolist()) == {0, 1, 4, 5, 6, 7}
    sampler.exclusion = Exclusion.ROW
    drawn = sampler.draw(columns, np.random.default_rng(0))
    assert set(drawn.shared.tolist()) == set(range(8))
    liked = {(row, drawn.shared[place]) for row, place in drawn.masked.T.tolist()}
    assert liked == {(0, 3), (1, 2), (1, 3)}


def test_hard_negatives_of_each_row_but_not_its_own_item(tmp_path: Path) -> None:
    hard = edges((1, 2), (1, 3), (1, 4), (2, 6))
    sampler = NegativeSampler(
        pool(tmp_path, [1.0] * 8), 5, "item", hard=hard, hard_count=2, user_column="user"
    )
    columns = {"item": pa.array([7, 0, 6, 1]), "user": pa.array([1, 5, 2, 1])}
    seen = set()
    for seed in range(30):
        drawn = sampler.draw(columns, np.random.default_rng(seed))
        assert drawn.hard_rows.tolist() == [0, 0, 3, 3]  # User 5 has none, user 2 only its own item.
        assert len(set(drawn.hard[:2].tolist())) == 2
        seen |= set(drawn.hard.tolist())
        assert drawn.rows.tolist() == [*drawn.shared.tolist(), *drawn.hard.tolist()]
    assert seen == {2, 3, 4}


@pytest.mark.parametrize("items", [[3, 7], [[3], [2, 7, 4]]])
def test_a_row_whose_own_item_is_a_hard_edge_gets_as_many_hard_ones(tmp_path: Path, items: list) -> None:
    hard = edges((1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 4), (2, 6), (2, 7))
    sampler = NegativeSampler(
        pool(tmp_path, [1.0] * 8), 5, "item", hard=hard, hard_count=2, user_column="user"
    )
    columns = {"item": pa.array(items), "user": pa.array([1, 2])}
    for seed in range(30):
        drawn = sampler.draw(columns, np.random.default_rng(seed))
        assert drawn.hard_rows.tolist() == [0, 0, 1, 1]
        assert sorted(drawn.hard[:2].tolist()) == [2, 4]
        own = items[1] if isinstance(items[1], list) else [items[1]]
        assert len(set(drawn.hard[2:].tolist()) - set(own)) == 2


def test_several_items_of_a_row(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0] * 5), 200, "item")
    assert set(shared(sampler, pa.array(["0;1", "3"])).tolist()) == {2, 4}
    assert set(shared(sampler, pa.array([[0, 1], None, []], pa.list_(pa.int64()))).tolist()) == {2, 3, 4}


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    batch=st.lists(st.integers(0, 14), max_size=30),
    count=st.integers(1, 300),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_forbidden_never_appear(
    tmp_path_factory: pytest.TempPathFactory, weights: list[int], batch: list[int], count: int, seed: int
) -> None:
    if not any(weights):
        return
    table = pool(tmp_path_factory.mktemp("pool"), [float(weight) for weight in weights])
    sampler = NegativeSampler(table, count, "item")
    allowed = {n for n, weight in enumerate(weights) if weight} - set(batch)
    items = pa.array(batch, pa.int64())
    if not allowed:
        with pytest.raises(UserError, match="forbids all"):
            shared(sampler, items, seed)
        return
    drawn = shared(sampler, items, seed)
    assert len(drawn) == count
    assert set(drawn.tolist()) <= allowed


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (pa.int32(), "7", 7),
        (pa.float32(), "0.5", 0.5),
        (pa.bool_(), "true", True),
        (pa.large_string(), "a", "a"),
        (pa.dictionary(pa.int32(), pa.string()), "a", "a"),
        (pa.list_(pa.int64()), "1\x1d2", [1, 2]),
        (pa.list_(pa.string()), "a\x1db", ["a", "b"]),
        (pa.map_(pa.string(), pa.int64()), "a:1\x1db:2", [("a", 1), ("b", 2)]),
    ],
)
def test_attributes_of_every_type_join_their_column(
    tmp_path: Path, kind: pa.DataType, text: str, value: object
) -> None:
    (tmp_path / "table.txt").write_text(f"id:int64\tweight:float\tattrs:string\n1\t1\t1\x02{text}\n")
    stored = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = [AttributeType("item", pa.int64(), "\x1d"), AttributeType("x", stored, "\x1d")]
    table = open_table(str(tmp_path / "table.txt"), types, "\x02", "\t", tmp_path / "cache")
    sampler = NegativeSampler(table, 2, "item")
    columns = {"item": pa.array([5]), "x": pa.array([value], kind)}
    drawn = sampler.draw(columns, np.random.default_rng(0))
    assert sampler.extend(columns, ["x"], drawn)["x"].to_pylist() == [value] * 3
