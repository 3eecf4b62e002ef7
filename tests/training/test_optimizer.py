"""The fused and dense optimizers of a sharded model in one process: they move what they should."""

from pathlib import Path

import pytest
import torch
from google.protobuf import text_format

from tests.small import make_small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.training.build import Session
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
        stepper(batch, step, 0)
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
