"""The alias table holds the weights exactly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tzrec.datasets.alias import build_alias, draw


def implied(weights: np.ndarray) -> np.ndarray:
    """The probability that the table gives to each item."""
    threshold, alias = build_alias(weights)
    share = threshold.astype(np.float64)
    np.add.at(share, alias, 1 - threshold.astype(np.float64))
    return share / len(weights)


def test_by_hand() -> None:
    np.testing.assert_allclose(implied(np.array([1.0, 2.0, 3.0, 4.0])), [0.1, 0.2, 0.3, 0.4], atol=1e-7)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60).filter(lambda weights: sum(weights) > 1e-3))
def test_any_weights(weights: list[float]) -> None:
    array = np.array(weights)
    np.testing.assert_allclose(implied(array), array / array.sum(), atol=1e-6)


def test_weight_zero_is_never_drawn() -> None:
    threshold, alias = build_alias(np.array([0.0, 1.0, 0.0, 5.0]))
    drawn = draw(threshold, alias, 100_000, np.random.default_rng(0))
    assert set(drawn.tolist()) == {1, 3}
