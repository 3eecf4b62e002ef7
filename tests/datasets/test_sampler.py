"""Negatives: frequencies follow the weights, the batch is never hit, the same seed draws the same."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.negative_table import open_table
from tzrec.datasets.sampler import NegativeSampler
from tzrec.runtime.errors import UserError

TYPES = [AttributeType("item", pa.int64(), "\x1d"), AttributeType("tag", pa.string(), "\x1d")]


def pool(folder: Path, weights: list[float], text_ids: bool = False):
    kind, prefix = ("string", "i") if text_ids else ("int64", "")
    lines = [f"id:{kind}\tweight:float\tattrs:string"]
    lines += [f"{prefix}{number}\t{weight}\t{number}:t{number}" for number, weight in enumerate(weights)]
    path = folder / "table.txt"
    path.write_text("\n".join(lines) + "\n")
    return open_table(str(path), TYPES, ":", "\t", folder / "cache")


# Chi-square at 99.99 %, for 9 and for 7 degrees of freedom: scipy.stats.chi2.ppf(0.9999, d).
CRITICAL = {9: 33.72, 7: 29.88}


@pytest.mark.parametrize(
    "weights", [[1.0] * 12, [float(2**n) for n in range(12)], [0.0, 5.0, 0.0] + [1.0] * 9]
)
def test_frequencies_follow_the_weights_among_the_allowed(tmp_path: Path, weights: list[float]) -> None:
    sampler = NegativeSampler(pool(tmp_path, weights), 50_000, "item")
    batch = pa.array([3, 7, 7])
    drawn = sampler.draw_rows(batch, np.random.default_rng(1))
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
    drawn = NegativeSampler(table, 40_000, "item").draw_rows(pa.array([0, 1]), np.random.default_rng(0))
    assert np.bincount(drawn, minlength=4).tolist()[:2] == [0, 0]
    assert np.mean(drawn == 3) == pytest.approx(0.75, abs=0.01)


def test_a_batch_that_holds_the_whole_pool_is_an_error(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0, 1.0, 0.0]), 4, "item")
    with pytest.raises(UserError, match="all 2 items of the pool that have weight"):
        sampler.draw_rows(pa.array([0, 1]), np.random.default_rng(0))


def test_a_pool_smaller_than_asked_for_is_drawn_with_replacement(tmp_path: Path) -> None:
    drawn = NegativeSampler(pool(tmp_path, [1.0] * 3), 100, "item").draw_rows(
        pa.array([0]), np.random.default_rng(0)
    )
    assert len(drawn) == 100
    assert set(drawn.tolist()) == {1, 2}


def test_items_of_the_batch_that_the_pool_does_not_know(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0] * 3), 50, "item")
    assert set(sampler.draw_rows(pa.array([999, None, -5]), np.random.default_rng(0)).tolist()) == {0, 1, 2}


def test_text_ids(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0] * 4, text_ids=True), 100, "item")
    drawn = sampler.draw_rows(pa.array(["i1", "i2", "other"]), np.random.default_rng(0))
    assert set(drawn.tolist()) == {0, 3}


def test_extended_columns_are_positives_then_negatives(tmp_path: Path) -> None:
    sampler = NegativeSampler(pool(tmp_path, [1.0] * 5), 3, "item")
    columns = {"item": pa.array([1, 2], pa.int32()), "tag": pa.array(["x", "y"]), "user": pa.array([8, 9])}
    extended = sampler.extend(columns, ["item", "tag"], np.random.default_rng(4))
    assert sorted(extended) == ["item", "tag"]
    items, tags = extended["item"].to_pylist(), extended["tag"].to_pylist()
    assert extended["item"].type == pa.int32()
    assert (items[:2], tags[:2]) == ([1, 2], ["x", "y"])
    assert tags[2:] == [f"t{number}" for number in items[2:]]
    again = sampler.extend(columns, ["item", "tag"], np.random.default_rng(4))
    assert again["item"].equals(extended["item"])
