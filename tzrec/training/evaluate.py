"""Evaluation: the loss and recall@k over a table, every row counted once.

Sampled negatives depend on the batch and the rank, so the numbers vary a little with the number of
processes, as with any change of the negatives; with the same number they repeat to the digit."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tzrec.datasets.batch import Batch
from tzrec.datasets.loader import Loader
from tzrec.models.softmax import Logits, recall_hits, softmax_loss
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
    """Running sums over batches: loss, weight, rows, and hits for each k."""

    objective: Objective
    sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sums = torch.zeros(3 + len(self.objective.top_ks), dtype=torch.float64)

    def add(self, logits: Logits, batch: Batch) -> None:
        loss, weight = self.objective.loss(logits, batch)
        hits = [recall_hits(logits, k) for k in self.objective.top_ks]
        parts = [loss, weight, torch.tensor(batch.rows), *hits]
        self.sums += torch.stack([part.detach().double().cpu() for part in parts])

    def metrics(self) -> dict[str, float]:
        """`loss` and `recall@k` over the rows of all ranks. Collective."""
        loss, weight, rows, *hits = total(self.sums).tolist()
        found = {
            f"recall@{k}": hit / max(rows, 1) for k, hit in zip(self.objective.top_ks, hits, strict=True)
        }
        return {**found, "loss": loss / weight if weight else 0.0}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Loader[Batch],
    objective: Objective,
    world: World,
    device: torch.device,
    num_steps: int = 0,
    log_steps: int = 10,
) -> dict[str, float]:
    """The metrics of the model over the table. Collective.

    Args:
        model: sharded, or whole in a job of one process.
        loader: of the table.
        objective: what is measured.
        world: the place of this process.
        device: of the model.
        num_steps: stop after so many steps; 0 goes to the end.
        log_steps: steps between two updates of the progress bar.
    """
    was_training = model.training
    model.eval()
    tally = Tally(objective)
    steps = min(num_steps, loader.steps) if num_steps else loader.steps
    rows = waiting = 0
    started = time.perf_counter()
    with bar(world, int(loader.sizes[:steps].sum()) * world.size, "rows", "evaluate") as progress:
        for step, loaded in enumerate(loader.batches(stop=steps), 1):
            batch = loaded.to(device)
            _, logits = model(batch)
            tally.add(logits, batch)
            rows += batch.rows
            waiting += batch.rows * world.size
            if step % max(log_steps, 1) == 0 or step == steps:
                progress.update(waiting)
                waiting = 0
        metrics = tally.metrics()
        if world.is_first:
            progress.set_postfix_str(f"{time.perf_counter() - started:.1f} s", refresh=True)
    model.train(was_training)
    return metrics


def show_metrics(metrics: dict[str, float]) -> str:
    """`recall@1 0.1234 | loss 3.21`."""
    return " | ".join(f"{name} {value:.4f}" for name, value in metrics.items())
