"""The alias table holds the weights exactly."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.datasets import alias as module
from tzrec.datasets.alias import build_alias, draw
from tzrec.datasets.bounded import chunks, in_folder


def implied(threshold: np.ndarray, alias: np.ndarray) -> np.ndarray:
    """The probability that the table gives to each item, times the number of items."""
    own = threshold.astype(np.float64)
    return own + np.bincount(alias, 1 - own, len(alias))


def test_by_hand() -> None:
    share = implied(*build_alias(np.array([1.0, 2.0, 3.0, 4.0])))
    np.testing.assert_allclose(share, [0.4, 0.8, 1.2, 1.6], atol=1e-6)


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=60).filter(lambda weights: sum(weights) > 1e-3),
    st.integers(1, 70),
)
def test_any_weights_in_chunks_of_any_size(weights: list[float], size: int) -> None:
    array = np.array(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "chunks", lambda rows: chunks(rows, size))
        share = implied(*build_alias(array))
    np.testing.assert_allclose(share, array * (len(array) / array.sum()), atol=1e-6 * len(array))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1.7e308), min_size=1, max_size=20).filter(any))
def test_weights_whose_sum_is_infinite(weights: list[float]) -> None:
    scaled = np.array(weights) / max(weights)
    share = implied(*build_alias(np.array(weights)))
    np.testing.assert_allclose(share, scaled * (len(scaled) / scaled.sum()), atol=1e-5)


@pytest.mark.parametrize("order", ["as it comes", "ascending", "descending"])
def test_a_large_skewed_pool(order: str) -> None:
    """A million items over six orders of magnitude: each has its weight, relative to itself."""
    weights = np.random.default_rng(0).pareto(0.8, 1_000_000) + 1e-3
    if order != "as it comes":
        weights = np.sort(weights)[:: 1 if order == "ascending" else -1].copy()
    share = implied(*build_alias(weights))
    wanted = weights * (len(weights) / weights.sum())
    np.testing.assert_allclose(share, wanted, rtol=1e-6, atol=1e-7)
    assert share.sum() == pytest.approx(len(weights), rel=1e-12)


def test_weight_zero_is_never_drawn() -> None:
    threshold, alias = build_alias(np.array([0.0, 1.0, 0.0, 5.0]))
    drawn = draw(threshold, alias, 100_000, np.random.default_rng(0))
    assert set(drawn.tolist()) == {1, 3}


def test_a_tiny_weight_keeps_its_probability() -> None:
    # Compared with a float32 random number, 2^-24 would be the least probability above 0.
    threshold, alias = build_alias(np.array([1e-12, 1.0]))
    assert float(threshold[0]) == pytest.approx(2e-12)
    assert (draw(threshold, alias, 4_000_000, np.random.default_rng(0)) == 0).sum() == 0


def test_in_files_as_in_memory(tmp_path: Path) -> None:
    weights = np.random.default_rng(1).gamma(0.3, 1.0, 5000)
    for mapped, plain in zip(build_alias(weights, in_folder(tmp_path)), build_alias(weights), strict=True):
        assert isinstance(mapped, np.memmap)
        np.testing.assert_array_equal(mapped, plain)
