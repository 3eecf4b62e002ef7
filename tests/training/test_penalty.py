"""The penalty of variational dropout, beside a loss that is divided, accumulated and scaled.

The attack: the penalty was added in every backward pass, N times in an update of N batches, and outside
the loss, so that FP16 divided it by the scale it had never been multiplied with.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.small import Small, command, make_small
from tests.training.planned import share_of
from tests.training.test_accumulation import parameters
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.training.build import Session
from tzrec.training.scaling import Scaling
from tzrec.training.step import Stepper

LAMBDA, RATE = 0.5, 0.25
EDITS = f"""{{
  "model_config.variational_dropout": {{"regularization_lambda": {LAMBDA}}},
  "train_config.dense_optimizer": {{"sgd_optimizer": {{"lr": {RATE}, "momentum": 0}}}}
}}"""


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    # The same noise for all rows: a batch in parts must be what it is as a whole.
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: torch.full(shape, 0.4, device=device))
    yield prepare(str(make_small(tmp_path / "small", rows=300).config), edits=EDITS).message
    leave_group()


def updated(pipeline, parts: int, scale: float = 0.0) -> tuple[dict[str, torch.Tensor], ...]:
    """The parameters before and after an update of one batch, which is cut into parts."""
    session = Session.begin(pipeline, World())
    layout = session.towers.layout
    [batch] = build_loader(pipeline.data_config, layout, World(), pipeline.train_input_path).batches(stop=1)
    edges = [batch.rows * i // parts for i in range(parts + 1)]
    batches = [share_of(batch, layout, *edges[i : i + 2]) for i in range(parts)] if parts > 1 else [batch]
    if scale:
        optimizers = [optimizer for _, optimizer, _ in session.optimizers.dense]
        session.optimizers.scaling = Scaling(torch.amp.GradScaler("cpu", scale), optimizers)
    begun = parameters(session)
    Stepper(session.model, session.optimizers, session.objective)(batches, 0, 0)
    leave_group()
    return begun, parameters(session)


@pytest.mark.parametrize(("parts", "scale"), [(1, 1024.0), (2, 0.0), (3, 0.0), (3, 1024.0)])
def test_the_penalty_counts_once_an_update(pipeline, parts: int, scale: float) -> None:
    begun, whole = updated(pipeline, 1)
    again, found = updated(pipeline, parts, scale)
    for name, value in found.items():
        torch.testing.assert_close(again[name], begun[name], rtol=0, atol=0)
        torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-6)
    logits = [name for name in found if name.endswith("dropout.logit")]
    assert len(logits) == 2


def test_the_penalty_by_hand(pipeline) -> None:
    """Without a penalty the loss alone moves the logits; with it the rate times its derivative more."""
    _, found = updated(pipeline, 2)
    pipeline.model_config.variational_dropout.regularization_lambda = 0.0
    begun, bare = updated(pipeline, 2)
    for name in (name for name in found if name.endswith("dropout.logit")):
        keep = torch.sigmoid(-begun[name])
        expected = bare[name] + RATE * LAMBDA * keep * (1 - keep)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)


def test_two_processes_agree_on_penalised_layers(small: Small) -> None:
    """Each save compares the dense layers of the ranks; the penalty stands outside what averages them."""
    edits = '{"model_config.variational_dropout": {"regularization_lambda": 0.5}}'
    words = ("--pipeline_config_path", small.config, "--edit_config_json", edits)
    done = command("tzrec.train_eval", *words, processes=2)
    assert done.returncode == 0, done.stderr
