"""The fused and dense optimizers of a sharded model in one process: they move what they should."""

from pathlib import Path

import pytest
import torch
from google.protobuf import text_format

from tests.small import make_small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.training.build import Session
from tzrec.training.checkpoint import Facts, path_of
from tzrec.training.optimizer import build_dense, build_parts, divide
from tzrec.training.saving import Saver
from tzrec.training.state import restore, state_of
from tzrec.training.step import Stepper


@pytest.fixture
def pipeline(tmp_path: Path):
    made = make_small(tmp_path / "small", rows=300)
    yield prepare(str(made.config)).message
    leave_group()


def steps(pipeline, count: int = 2) -> tuple[Session, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The session, and its parameters before and after some steps."""
    session = Session.begin(pipeline, World())
    loader = build_loader(pipeline.data_config, session.towers.layout, World(), pipeline.train_input_path)

    def parameters() -> dict[str, torch.Tensor]:
        found = {}
        for name, value in session.model.state_dict().items():
            local = value.to_local() if hasattr(value, "to_local") else value
            pieces = local.local_shards() if hasattr(local, "local_shards") else [local]
            found[name] = torch.cat([piece.detach().clone() for piece in pieces])
        return found

    stepper = Stepper(session.model, session.optimizers, session.objective, session.clip)
    before = parameters()
    for step, batch in enumerate(loader.batches(stop=count)):
        stepper([batch], step, 0)
    return session, before, parameters()


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> list[float]:
    return [(after[name] - before[name]).abs().max().item() for name in before if part in name]


@pytest.mark.parametrize("kind", ["sgd", "adagrad", "rowwise_adagrad"])
def test_sparse_optimizers_of_the_cpu(pipeline, kind: str) -> None:
    text = f"{kind}_optimizer {{ lr: 0.1 gradient_clipping: true max_gradient: 1.0 }}"
    pipeline.train_config.sparse_optimizer.CopyFrom(text_format.Parse(text, SparseOptimizer()))
    _, before, after = steps(pipeline)
    assert all(change > 0 for change in moved(before, after, "table_"))


@pytest.mark.parametrize("kind", ["sgd", "adagrad", "adam", "adamw", "adadelta", "rmsprop"])
def test_dense_optimizers(pipeline, kind: str) -> None:
    text = f"{kind}_optimizer {{ lr: 0.1 }}"
    pipeline.train_config.dense_optimizer.CopyFrom(text_format.Parse(text, DenseOptimizer()))
    _, before, after = steps(pipeline)
    assert all(change > 0 for change in moved(before, after, "tower"))


def test_sparse_updates_are_those_of_their_papers(pipeline) -> None:
    """The gradient is what SGD of rate 1 moves; the others begin with the same tables and batch."""

    def moves(text: str) -> dict[str, torch.Tensor]:
        pipeline.train_config.sparse_optimizer.CopyFrom(text_format.Parse(text, SparseOptimizer()))
        _, before, after = steps(pipeline, count=1)
        leave_group()
        return {name: before[name] - after[name] for name in before if "table_" in name}

    gradients = moves("sgd_optimizer { lr: 1 }")
    adagrad = moves("adagrad_optimizer { lr: 0.1 initial_accumulator_value: 0.01 }")
    rowwise = moves("rowwise_adagrad_optimizer { lr: 0.1 }")
    for name, gradient in gradients.items():
        expected = 0.1 * gradient / ((0.01 + gradient**2).sqrt() + 1e-8)
        torch.testing.assert_close(adagrad[name], expected, rtol=1e-3, atol=1e-6)
        size = (gradient**2).mean(dim=1, keepdim=True).sqrt()
        # A gradient that is the difference of two near weights has few digits; these rows have enough.
        rows = (size > 1e-4).squeeze(1)
        assert rows.any()
        expected = (0.1 * gradient / (size + 1e-8))[rows]
        torch.testing.assert_close(rowwise[name][rows], expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sgd_optimizer { lr: 0.1 momentum: 0.9 }", 2 - 0.1 - 0.19),
        ("sgd_optimizer { lr: 0.1 momentum: 0.9 nesterov: true }", 2 - 0.19 - 0.271),
        # The sums of squares are 1 and 2.
        ("adagrad_optimizer { lr: 0.1 }", 2 - 0.1 - 0.1 / 2**0.5),
        ("adam_optimizer { lr: 0.1 }", 1.8),
        ("adam_optimizer { lr: 0.1 beta1: 0.5 amsgrad: true }", 1.8),
        ("adamw_optimizer { lr: 0.1 weight_decay: 0.5 }", (2 * 0.95 - 0.1) * 0.95 - 0.1),
        # The mean squares are 0.01 and 0.0199.
        ("rmsprop_optimizer { lr: 0.1 }", 2 - 1.0 - 0.1 / 0.0199**0.5),
        ("adadelta_optimizer { lr: 1 rho: 0 eps: 1 }", 2 - 0.5**0.5 - (1.5 / 2) ** 0.5),
    ],
)
def test_two_steps_of_gradient_one(text: str, expected: float) -> None:
    parameter = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = build_dense(text_format.Parse(text, DenseOptimizer()))([parameter])
    for _ in range(2):
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert parameter.item() == pytest.approx(expected, abs=1e-5)


def test_part_optimizers_take_the_parameters_they_name(pipeline, tmp_path: Path) -> None:
    text = 'adam_optimizer { lr: 0.1 } part_optimizers { regex_pattern: "user_tow" sgd_optimizer { lr: 0 } }'
    pipeline.train_config.dense_optimizer.CopyFrom(text_format.Parse(text, DenseOptimizer()))
    session, before, after = steps(pipeline)
    assert set(moved(before, after, "user_tower")) == {0.0}
    assert all(change > 0 for change in moved(before, after, "item_tower"))
    assert [key for key, _, _ in session.optimizers.dense] == ["part0", "dense"]
    # The state of both is part of a checkpoint, and comes back: Adam's count of steps, for one.
    state = session.optimizers.dense[1][1].state
    saver = Saver(tmp_path, World())
    saver.begin(state_of(session.model, session.optimizers), Facts())
    saver.finish()
    for held in state.values():
        held["step"].zero_()
    restore(path_of(tmp_path, 0), session.model, session.optimizers)
    assert {held["step"].item() for held in session.optimizers.dense[1][1].state.values()} == {2.0}


@pytest.mark.parametrize(
    ("text", "first", "rest"),
    [
        # Adam's first step is the rate, whatever the gradient.
        ("adam_optimizer { lr: 0.1 }", 0.1, 0.0),
        # Decay takes a tenth of the weight beside it, once.
        ("adamw_optimizer { lr: 0.1 weight_decay: 1 }", 0.1, 0.1),
        ("adagrad_optimizer { lr: 0.1 }", 0.1, 0.0),
    ],
)
def test_the_first_step_is_the_first(pipeline, text: str, first: float, rest: float) -> None:
    """Making the state beforehand counts as no step and moves nothing."""
    pipeline.train_config.dense_optimizer.CopyFrom(text_format.Parse(text, DenseOptimizer()))
    _, before, after = steps(pipeline, count=1)
    name = next(name for name in before if name.endswith("item_tower.output.weight"))
    step = after[name] - (1 - rest) * before[name]
    # Not of every weight: some follow a unit that no row of the batch switches on.
    assert step.abs().max().item() == pytest.approx(first, rel=1e-2)


def test_the_first_pattern_that_is_found_counts() -> None:
    parts = build_parts(
        text_format.Parse(
            "sgd_optimizer { lr: 1 }"
            'part_optimizers { regex_pattern: "a" sgd_optimizer { lr: 2 } }'
            'part_optimizers { regex_pattern: "b$" sgd_optimizer { lr: 3 } }',
            DenseOptimizer(),
        )
    )
    assert divide(["ab", "b", "bc"], parts) == [["ab"], ["b"], ["bc"]]
    with pytest.raises(UserError, match=r'part_optimizers\[1\].regex_pattern: "b\$" takes no parameter'):
        divide(["ab", "c"], parts)


def test_the_rates_of_the_schedules_reach_both_optimizers(pipeline) -> None:
    """A rate of 0 moves nothing: the fused update really took the rate that was set before it."""
    zero = "manual_step_learning_rate { schedule_sizes: 0 learning_rates: 0 }"
    pipeline.train_config.sparse_optimizer.MergeFrom(text_format.Parse(zero, SparseOptimizer()))
    _, before, after = steps(pipeline)
    assert moved(before, after, "table_") == [0.0] * len(moved(before, after, "table_"))
    assert all(change > 0 for change in moved(before, after, "tower"))
    leave_group()
    pipeline.train_config.dense_optimizer.MergeFrom(text_format.Parse(zero, DenseOptimizer()))
    pipeline.train_config.sparse_optimizer.constant_learning_rate.SetInParent()
    _, before, after = steps(pipeline)
    assert all(change > 0 for change in moved(before, after, "table_"))
    assert max(moved(before, after, "tower")) == 0.0


def test_accumulators_begin_where_they_are_told(pipeline) -> None:
    text = "adagrad_optimizer { lr: 0.1 initial_accumulator_value: 0.5 }"
    pipeline.train_config.sparse_optimizer.CopyFrom(text_format.Parse(text, SparseOptimizer()))
    session, _, _ = steps(pipeline, count=0)
    values = []
    for state in session.model.fused_optimizer.state.values():
        for tensor in state.values():
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            for piece in local.local_shards() if hasattr(local, "local_shards") else [local]:
                values.append((piece.min().item(), piece.max().item()))
    assert values
    assert set(values) == {(0.5, 0.5)}


def test_no_table_is_data_parallel(pipeline) -> None:
    """There the planner would put tiny tables, and the fused optimizer would be ignored."""
    session, _, _ = steps(pipeline, count=0)
    kinds = {
        choice.sharding_type for module in session.model.plan.plan.values() for choice in module.values()
    }
    assert kinds == {"table_wise"}
