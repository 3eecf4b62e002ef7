"""Learning rates by hand."""

import pytest
from google.protobuf import text_format

from tzrec.protos.optimizer_pb2 import DenseOptimizer
from tzrec.runtime.errors import UserError
from tzrec.training.schedule import build_schedule


def rates(text: str, steps: list[int], epoch: bool = False) -> list[float]:
    config = text_format.Parse("adam_optimizer { lr: 0.1 } " + text, DenseOptimizer())
    schedule = build_schedule(config)
    return [schedule.rate(0, step) if epoch else schedule.rate(step, 0) for step in steps]


def test_constant() -> None:
    assert rates("constant_learning_rate {}", [0, 1000]) == pytest.approx([0.1, 0.1])
    assert rates("", [0, 5]) == pytest.approx([0.1, 0.1])


def test_exponential_decay() -> None:
    text = "exponential_decay_learning_rate { decay_size: 10 decay_factor: 0.5 min_learning_rate: 0.02 %s }"
    assert rates(text % "", [0, 9, 10, 20, 90]) == pytest.approx([0.1, 0.1, 0.05, 0.025, 0.02])
    assert rates(text % "staircase: false", [5]) == pytest.approx([0.1 * 0.5**0.5])
    warm = text % "warmup_size: 4 warmup_learning_rate: 0.02"
    assert rates(warm, [0, 2, 4, 14]) == pytest.approx([0.02, 0.06, 0.1, 0.05])
    assert rates(text % "by_epoch: true", [0, 10], epoch=True) == pytest.approx([0.1, 0.05])


def test_manual_step() -> None:
    text = "manual_step_learning_rate { schedule_sizes: [5, 8] learning_rates: [0.05, 0.01] %s }"
    assert rates(text % "", [0, 4, 5, 7, 8, 99]) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.01, 0.01])
    assert rates(text % "warmup: true", [0, 2]) == pytest.approx([0.1, 0.08])


def test_manual_step_by_epoch() -> None:
    text = "manual_step_learning_rate { schedule_sizes: [2, 3] learning_rates: [0.05, 0.01] by_epoch: true }"
    assert rates(text, [0, 1, 2, 3], epoch=True) == pytest.approx([0.1, 0.1, 0.05, 0.01])
    assert rates(text, [0, 2, 3]) == pytest.approx([0.1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # From 0.02 to 0.1 over 4; then the curve from its beginning: half way at 4 + 5.
        ("cosine_annealing_learning_rate { T_max: 10 min_learning_rate: 0.02 %s }", [0.02, 0.06, 0.1, 0.06]),
        # A period of 5, twice, then at its beginning.
        (
            "cosine_annealing_warm_restarts_learning_rate { T_0: 5 T_mult: 1 min_learning_rate: 0.02 %s }",
            [0.02, 0.06, 0.1, 0.1],
        ),
    ],
)
@pytest.mark.parametrize("epoch", [False, True])
def test_cosines_warm_up_and_count_passes(text: str, expected: list[float], epoch: bool) -> None:
    more = "warmup_size: 4 warmup_learning_rate: 0.02" + (" by_epoch: true" if epoch else "")
    assert rates(text % more, [0, 2, 4, 9], epoch) == pytest.approx(expected)


def test_cosine() -> None:
    text = "cosine_annealing_learning_rate { T_max: 10 min_learning_rate: 0.02 }"
    assert rates(text, [0, 5, 10, 50]) == pytest.approx([0.1, 0.06, 0.02, 0.02])


def test_cosine_restarts() -> None:
    text = "cosine_annealing_warm_restarts_learning_rate { T_0: 4 T_mult: 2 min_learning_rate: 0 }"
    # Periods of 4, then 8: half way through each the rate is half.
    assert rates(text, [0, 2, 4, 8, 12]) == pytest.approx([0.1, 0.05, 0.1, 0.05, 0.1])


@pytest.mark.parametrize("factor", [10.0, 1e30])
def test_a_rate_beyond_float32_is_told(factor: float) -> None:
    """A decay_factor above 1 ended in an OverflowError, or trained with an infinite rate."""
    text = f"exponential_decay_learning_rate {{ decay_size: 1 decay_factor: {factor} }}"
    assert rates(text, [0, 1]) == pytest.approx([0.1, 0.1 * factor])
    with pytest.raises(UserError, match=r"after 400 steps the rate is .*, which no float32 holds"):
        rates(text, [400])
