"""Sampled metrics: what plain NumPy makes of the same rows, for any number of processes."""

import numpy as np
import pytest
import torch

from tests.small import Small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.features.build import build_features
from tzrec.models.build import tower_features
from tzrec.models.softmax import Block, Logits
from tzrec.runtime.world import World
from tzrec.serving.split import load_model
from tzrec.training.build import build_objective
from tzrec.training.checkpoint import path_of
from tzrec.training.evaluate import Tally, show_metrics


class Rows:
    """A batch as the tally sees it."""

    def __init__(self, rows: int, weights: torch.Tensor | None = None) -> None:
        self.rows, self.weights = rows, weights


def in_numpy(scores: np.ndarray, weights: np.ndarray, top_ks: tuple[int, ...]) -> dict[str, float]:
    """The metrics of rows whose first column is the positive: float64 [rows, 1 + N]."""
    places = 1 + (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
    highest = scores.max(axis=1, keepdims=True)
    losses = np.log(np.exp(scores - highest).sum(axis=1)) + highest[:, 0] - scores[:, 0]
    found = {"mrr": np.mean(1 / places), "loss": (losses * weights).sum() / weights.sum()}
    for k in top_ks:
        found[f"recall@{k}"] = np.mean(places <= k)
        found[f"ndcg@{k}"] = np.mean(np.where(places <= k, 1 / np.log2(1 + places), 0))
    return found


def test_by_hand(trained: Small) -> None:
    """Places 1, 3 and 2: MRR (1 + 1/3 + 1/2) / 3; NDCG@2 (1 + 1/log2(3)) / 3; recall@2 2 / 3."""
    objective = build_objective(prepare(str(trained.config)).message)
    objective.top_ks = [2]
    tally = Tally(objective)
    positive = torch.tensor([2.0, 0.0, 1.0])
    negatives = torch.tensor([[1.0, 0.0], [1.0, 0.5], [3.0, 0.0]])
    logits = Logits(negatives, positive, (Block(torch.eye(2)),))
    tally.add(logits, Rows(3, torch.tensor([1.0, 2.0, 0.5])))
    found = tally.metrics()
    assert found["mrr"] == pytest.approx(11 / 18)
    assert found["ndcg@2"] == pytest.approx((1 + 1 / np.log2(3)) / 3)
    assert found["recall@2"] == pytest.approx(2 / 3)
    scores = torch.cat([positive[:, None], negatives], dim=1).double().numpy()
    assert found == pytest.approx(in_numpy(scores, np.array([1.0, 2.0, 0.5]), (2,)), rel=1e-6)
    assert show_metrics({"mrr": 0.5}) == "sampled metrics: mrr 0.5000"


@pytest.mark.parametrize("size", [1, 2, 3, 11])
def test_any_number_of_processes_makes_the_numbers_of_numpy(trained: Small, size: int) -> None:
    pipeline = prepare(str(trained.model / "pipeline.config")).message
    pipeline.data_config.eval_batch_size = 64
    model = load_model(pipeline, path_of(trained.model, 16))
    layout = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config)).layout
    objective = build_objective(pipeline)

    def scored(count: int) -> tuple[dict[str, float], np.ndarray]:
        tally, rows = Tally(objective), []
        for rank in range(count):
            loader = build_loader(
                *(pipeline.data_config, layout, World(rank, count, rank, count)),
                *(pipeline.eval_input_path, True),
            )
            # The sharded model takes the empty batches of ranks without one, TorchRec's plain one does not.
            for batch in filter(lambda batch: batch.rows, loader.batches()):
                logits = model(batch)[1]
                tally.add(logits, batch)
                rows += [
                    torch.cat([logits.positive[part, None], *scores], dim=1)
                    for part, scores in logits.chunks()
                ]
        return tally.metrics(), torch.cat(rows).double().numpy()

    with torch.no_grad():
        metrics, scores = scored(size)
        _, alone = scored(1)
    assert len(scores) == 501
    # Not only the same sums: the same rows against the same negatives.
    np.testing.assert_array_equal(scores, alone)
    assert metrics == pytest.approx(in_numpy(alone, np.ones(501), (1, 5)), rel=1e-6)
