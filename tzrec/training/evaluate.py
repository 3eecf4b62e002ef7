"""Evaluation: loss, recall@k, NDCG@k and MRR over a table, every row counted once.

These are sampled metrics: a positive is ranked among the negatives of its batch, not among all
items. They compare models on the same table with the same number of negatives; how good a
retrieval is, the hit rate says. Batches are cut through the whole table and their negatives depend
on the batch's number alone, so any number of processes computes the same numbers, up to rounding.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tzrec.datasets.batch import Batch
from tzrec.datasets.loader import Loader
from tzrec.models.softmax import Logits, positive_places, softmax_loss
from tzrec.runtime.progress import bar
from tzrec.runtime.world import World


def total(value: Tensor) -> Tensor:
    """The sum over all ranks, float64 on the CPU. Collective."""
    summed = value.detach().double().cpu()
    if dist.is_initialized():
        dist.all_reduce(summed)
    return summed


@dataclass
class Objective:
    """What is minimised and what is measured.

    Attributes:
        label_smoothing: of the softmax loss.
        top_ks: of the recall metrics.
    """

    label_smoothing: float = 0.0
    top_ks: Sequence[int] = ()

    def loss(self, logits: Logits, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum of the weighted losses of the batch, sum of its weights)."""
        return softmax_loss(logits, batch.weights, self.label_smoothing)


@dataclass
class Tally:
    """Running sums over batches: loss, weight, rows, reciprocal ranks, hits and gains for each k."""

    objective: Objective
    sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sums = torch.zeros(4 + 2 * len(self.objective.top_ks), dtype=torch.float64)

    def add(self, logits: Logits, batch: Batch) -> None:
        loss, weight = self.objective.loss(logits, batch)
        places = positive_places(logits).double()
        parts = [loss, weight, torch.tensor(batch.rows), (1 / places).sum()]
        for k in self.objective.top_ks:
            parts += [(places <= k).sum(), torch.where(places <= k, 1 / torch.log2(1 + places), 0).sum()]
        self.sums += torch.stack([part.detach().double().cpu() for part in parts])

    def metrics(self) -> dict[str, float]:
        """`recall@k`, `ndcg@k`, `mrr` and `loss` over the rows of all ranks. Collective."""
        loss, weight, rows, reciprocals, *rest = total(self.sums).tolist()
        rows = max(rows, 1)
        named = list(zip(self.objective.top_ks, rest[::2], rest[1::2], strict=True))
        return {
            **{f"recall@{k}": hits / rows for k, hits, _ in named},
            **{f"ndcg@{k}": gains / rows for k, _, gains in named},
            "mrr": reciprocals / rows,
            "loss": loss / weight if weight else 0.0,
        }


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Loader[Batch],
    objective: Objective,
    world: World,
    device: torch.device,
    num_steps: int = 0,
    log_steps: int = 10,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """The metrics of the model over the table; none if it was interrupted. Collective.

    Args:
        model: sharded, or whole in a job of one process.
        loader: of the table.
        objective: what is measured.
        world: the place of this process.
        device: of the model.
        num_steps: stop after so many steps; 0 goes to the end.
        log_steps: steps between two updates of the progress bar.
        interrupted: asked after every batch, with the same answer on all ranks.
    """
    was_training = model.training
    model.eval()
    tally = Tally(objective)
    steps = min(num_steps, loader.steps) if num_steps else loader.steps
    rows = waiting = 0
    started = time.perf_counter()
    with bar(world, int(loader.course.sizes[:steps].sum()) * world.size, "rows", "evaluate") as progress:
        for step, loaded in enumerate(loader.batches(stop=steps), 1):
            batch = loaded.to(device)
            _, logits = model(batch)
            tally.add(logits, batch)
            rows += batch.rows
            waiting += batch.rows * world.size
            if step % max(log_steps, 1) == 0 or step == steps:
                progress.update(waiting)
                waiting = 0
            if interrupted():
                model.train(was_training)
                return {}
        metrics = tally.metrics()
        if world.is_first:
            progress.set_postfix_str(f"{time.perf_counter() - started:.1f} s", refresh=True)
    model.train(was_training)
    return metrics


def show_metrics(metrics: dict[str, float]) -> str:
    """`sampled metrics: recall@1 0.1234 | mrr 0.2345 | loss 3.2100`."""
    return "sampled metrics: " + " | ".join(f"{name} {value:.4f}" for name, value in metrics.items())
