"""Updates of several batches, and FP16's: what plain torch makes of the same batches, by dense gradients."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from tests.small import Small, command, make_small
from tests.test_resume import weights
from tzrec.config import prepare
from tzrec.datasets.batch import Batch, Jagged
from tzrec.datasets.build import build_loader
from tzrec.models.build import build_model
from tzrec.modules.embedding import joined
from tzrec.protos.optimizer_pb2 import DenseOptimizer
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.training.build import Session
from tzrec.training.checkpoint import steps_in
from tzrec.training.grouping import groups, passes
from tzrec.training.step import Stepper, clip_norm


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator:
    yield prepare(str(make_small(tmp_path / "small", rows=450).config)).message
    leave_group()


def parameters(session: Session) -> dict[str, torch.Tensor]:
    found = {}
    for name, value in session.model.state_dict().items():
        local = value.to_local() if hasattr(value, "to_local") else value
        pieces = local.local_shards() if hasattr(local, "local_shards") else [local]
        found[name] = torch.cat([piece.detach().clone() for piece in pieces])
    return found


def by_hand(pipeline, session: Session, updates: list[list[Batch]], clip: float) -> dict[str, torch.Tensor]:
    """Updates of the mean over the rows of each group, with dense gradients of unsharded tables."""
    model = build_model(pipeline, session.towers, table_device="cpu")
    model.load_state_dict(parameters(session))
    tables = [value for name, value in model.named_parameters() if "table_" in name]
    dense = [value for name, value in model.named_parameters() if "table_" not in name]
    optimizers = [torch.optim.Adagrad(tables, lr=0.05, eps=1e-8), torch.optim.Adam(dense, lr=0.003)]
    for batches in updates:
        losses = []
        for batch in batches:
            loss, weight = session.objective.loss(model(batch)[1], batch)
            losses.append((loss, weight))
        for optimizer in optimizers:
            optimizer.zero_grad()
        (sum(loss for loss, _ in losses) / sum(weight for _, weight in losses)).backward()
        torch.nn.utils.clip_grad_norm_(dense, clip)
        for optimizer in optimizers:
            optimizer.step()
    return {name: value.detach() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_update_of_several_batches_is_that_of_the_mean_over_their_rows(pipeline, size: int) -> None:
    """Adagrad and Adam are not linear: two updates of half the size would come out elsewhere.

    The rows weigh differently from batch to batch, and the last batch is smaller.
    """
    session = Session.begin(pipeline, World())
    loader = build_loader(pipeline.data_config, session.towers.layout, World(), pipeline.train_input_path)
    batches = list(loader.batches())
    assert [batch.rows for batch in batches] == [100, 100, 100, 100, 50]
    for i, batch in enumerate(batches):
        batch.weights = torch.rand(batch.rows, generator=torch.Generator().manual_seed(i)) * (i + 1)
    updates = list(groups(batches, size, 0, 99))
    expected = by_hand(pipeline, session, updates, clip=0.1)
    begun = parameters(session)
    stepper = Stepper(session.model, session.optimizers, session.objective, clip_norm(0.1, 2))
    for group in updates:
        stepper(group, 0, 0)
    for name, value in parameters(session).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=2e-5)
        assert (value - begun[name]).abs().max() > 2e-3


def test_what_is_told_is_the_sum_over_the_batches(pipeline) -> None:
    session = Session.begin(pipeline, World())
    loader = build_loader(pipeline.data_config, session.towers.layout, World(), pipeline.train_input_path)
    batches = list(loader.batches(stop=2))
    with torch.no_grad():
        each = [session.objective.loss(session.model(batch)[1], batch)[0].item() for batch in batches]
    seeds: list[int] = []
    stepper = Stepper(session.model, session.optimizers, session.objective)
    done = stepper(batches, 0, 0, seeds.append)
    assert done.loss.item() == pytest.approx(sum(each), rel=1e-5)
    assert done.weight.item() == 200
    assert seeds == [0, 1]


def test_groups_are_counted_from_the_beginning_of_the_pass() -> None:
    def sizes(batches: int, done: int, left: int) -> list[int]:
        return [len(group) for group in groups([None] * batches, 4, done, left)]  # type: ignore[list-item]

    assert sizes(10, 0, 99) == [4, 4, 2]  # The last of a pass is smaller.
    assert sizes(4, 6, 99) == [2, 2]  # A run that goes on within a group ends that group.
    assert sizes(10, 0, 6)[:2] == [4, 2]  # And so is that of a run.
    assert [passes(*case) for case in ((0, 4, 5), (4, 8, 5), (8, 12, 4), (4, 7, 4))] == [
        False,
        True,
        True,
        False,
    ]


@given(st.data())
def test_joined_ids_are_those_of_each_row(data: st.DataObject) -> None:
    """Feature by feature the rows of all parts, with their ids and weights."""
    keys = data.draw(st.integers(1, 3))
    counts = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=4))
    ids = iter(range(1000))
    # [part][key][row] -> ids
    parts = [
        [[[next(ids) for _ in range(data.draw(st.integers(0, 3)))] for _ in range(rows)] for _ in range(keys)]
        for rows in counts
    ]

    def jagged(rows_of_keys: list[list[list[int]]]) -> Jagged:
        flat = [row for rows in rows_of_keys for row in rows]
        values = torch.tensor([one for row in flat for one in row], dtype=torch.int64)
        lengths = torch.tensor([len(row) for row in flat], dtype=torch.int32)
        return Jagged(values, lengths, values.float() / 2)

    found, held = joined([jagged(part) for part in parts], counts, keys)
    expected = jagged([[row for part in parts for row in part[key]] for key in range(keys)])
    assert found.values.tolist() == expected.values.tolist()
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert found.weights is not None
    assert expected.weights is not None
    assert found.weights.tolist() == expected.weights.tolist()
    assert held == [[sum(map(len, rows)) for rows in part] for part in parts]


def test_going_on_between_two_updates(tmp_path: Path) -> None:
    """On two ranks, with dropout and an average: as a run that was never stopped, to the bit.

    The stop is in the second pass, where the whole run saves too: saving averages the statistics of
    batch normalisation over the ranks, which rounds them. 8 steps a pass on each rank, so updates of
    3, 3 and 2 batches.
    """
    edits = {
        "train_config.gradient_accumulation_steps": 3,
        "train_config.save_checkpoints_steps": 5,
        "train_config.dense_optimizer.ema": "{ decay: 0.5 }",
        "data_config.shuffle": True,
        "model_config.dssm.user_tower.mlp": "{ hidden_units: [16] use_bn: true dropout_ratio: 0.3 }",
    }
    whole, halved = make_small(tmp_path / "whole", rows=1570), make_small(tmp_path / "halved", rows=1570)
    for small, ends in ((whole, [16]), (halved, [11, 16])):
        for end in ends:
            words = (
                "--continue_train",
                "--edit_config_json",
                json.dumps(edits | {"train_config.num_steps": end}),
            )
            done = command("tzrec.train_eval", "--pipeline_config_path", small.config, *words, processes=2)
            assert done.returncode == 0, done.stderr
    # Due at 5, 10 and 15; saved with the updates that these are part of.
    assert steps_in(whole.model) == [6, 11, 16]
    for end in ({}, {"export_config.use_dense_ema": True}):
        assert_same(whole, halved, end)


def assert_same(one: Small, other: Small, edits: dict) -> None:
    expected = weights(one, 16, edits)
    for name, found in weights(other, 16, edits).items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=0)


def fp16(pipeline, scale: float, growth: int = 2000) -> tuple[Session, Stepper, list[Batch]]:
    """FP16 is for CUDA, because it is slow elsewhere; what it computes can be seen anywhere."""
    pipeline.train_config.mixed_precision = "FP16"
    pipeline.train_config.grad_scaler.init_scale = scale
    pipeline.train_config.grad_scaler.growth_interval = growth
    session = Session.begin(pipeline, World())
    loader = build_loader(pipeline.data_config, session.towers.layout, World(), pipeline.train_input_path)
    return (
        session,
        Stepper(session.model, session.optimizers, session.objective),
        list(loader.batches(stop=4)),
    )


@pytest.mark.parametrize("size", [1, 2])
def test_fp16_moves_as_fp32_does(pipeline, size: int) -> None:
    session, stepper, batches = fp16(pipeline, 1024.0)
    updates = list(groups(batches, size, 0, 99))
    expected = by_hand(pipeline, session, updates, clip=1e9)
    begun = parameters(session)
    for group in updates:
        stepper(group, 0, 0)
    for name, value in parameters(session).items():
        # Of the way that was gone, elements with nearly no gradient may go the other way.
        difference = (value - expected[name]).norm() / (expected[name] - begun[name]).norm()
        assert difference < 0.1, name


def test_a_gradient_that_overflows_moves_nothing(pipeline) -> None:
    """Neither layers nor tables nor the average, which all go on with half the scale."""
    pipeline.train_config.dense_optimizer.MergeFrom(text_format.Parse("ema {}", DenseOptimizer()))
    session, stepper, batches = fp16(pipeline, 1e30, growth=1)
    average, scaling = session.optimizers.average, session.optimizers.scaling
    assert average is not None
    assert scaling is not None
    before, averages = parameters(session), {name: value.clone() for name, value in average.tensors.items()}
    stepper(batches[:1], 0, 0)
    for name, value in parameters(session).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    for name, value in average.tensors.items():
        torch.testing.assert_close(value, averages[name], rtol=0, atol=0)
    assert scaling.state()["scale"].item() == pytest.approx(5e29)
    scaling.take({"scale": torch.tensor(64.0), "updates": torch.tensor(0)})
    stepper(batches[1:2], 1, 0)
    assert all((value != before[name]).any() for name, value in parameters(session).items())
    assert scaling.state()["scale"].item() == 128
