"""The training loop: batches to steps, steps to log lines, checkpoints and evaluations."""

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.datasets.batch import Batch
from tzrec.datasets.loader import Loader
from tzrec.features.feature import Feature, outside_lines
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import gather
from tzrec.runtime.progress import duration, say
from tzrec.runtime.world import World
from tzrec.training import checkpoint
from tzrec.training.checkpoint import Facts, Position
from tzrec.training.evaluate import evaluate, show_metrics, total
from tzrec.training.optimizer import Optimizers
from tzrec.training.sharding import describe_plan
from tzrec.training.step import Stepper


@dataclass(frozen=True)
class Plan:
    """When a run logs, saves and ends. Counts of steps or of passes; 0 means never.

    Attributes:
        num_steps, num_epochs: where the run ends; one of them.
        save_steps, save_epochs: between two checkpoints, each with an evaluation.
        log_steps: between two log lines.
        keep: checkpoints that stay; 0 keeps all.
        best_metric, larger_is_better: a checkpoint that always stays; "" for none.
        eval_steps, eval_log_steps: of each evaluation.
        tensorboard: write event files.
        summaries: what they hold beside metrics, of "loss" and "learning_rate".
    """

    num_steps: int = 0
    num_epochs: int = 0
    save_steps: int = 0
    save_epochs: int = 0
    log_steps: int = 100
    keep: int = 0
    best_metric: str = ""
    larger_is_better: bool = True
    eval_steps: int = 0
    eval_log_steps: int = 10
    tensorboard: bool = True
    summaries: tuple[str, ...] = ("loss", "learning_rate")

    def last_step(self, here: Position, steps_a_pass: int) -> int:
        """Where a run that stands `here` ends."""
        if self.num_steps:
            return self.num_steps
        return here.step + max((self.num_epochs - here.epoch) * steps_a_pass - here.epoch_step, 0)


class Trainer:
    """One run over one table.

    Args:
        model: sharded.
        stepper: moves the model by one batch, with its optimizers and its objective.
        train, test: batches; `test` may be None.
        features: asked at the end of a pass what values had no bucket.
        plan: when to log, save and end.
        model_dir: where checkpoints and results go.
        world, device: where this process runs.
        position: where to begin.
    """

    def __init__(
        self,
        model: DistributedModelParallel,
        stepper: Stepper,
        train: Loader[Batch],
        test: Loader[Batch] | None,
        features: list[Feature],
        plan: Plan,
        model_dir: Path,
        world: World,
        device: torch.device,
        position: Position | None = None,
    ) -> None:
        self.model, self.stepper = model, stepper
        self.optimizers, self.objective = stepper.optimizers, stepper.objective
        self.train, self.test, self.features = train, test, features
        self.plan, self.model_dir, self.world, self.device = plan, model_dir, world, device
        self.position = position or Position()
        self.last_step = plan.last_step(self.position, train.steps)
        self.metrics: dict[str, float] = {}
        self.board = Board(model_dir) if plan.tensorboard and world.is_first else None
        self.log = StepLog(self)

    def run(self) -> Path:
        """Trains to the end; returns the last checkpoint. Collective.

        Raises:
            UserError: the loss is no number any more.
        """
        self.model.train()
        done = checkpoint.newest(self.model_dir)
        # A run that goes on where nothing is left to do must not touch the checkpoint it came from.
        saved = self.position.step if done == checkpoint.path_of(self.model_dir, self.position.step) else -1
        while self.position.step < self.last_step:
            for batch in self.train.batches(self.position.epoch, self.position.epoch_step):
                self._step(batch)
                if self._save_is_due():
                    saved = self._save_and_evaluate()
                if self.position.step == self.last_step:
                    break
            self._report_outside()
        if saved != self.position.step:
            self._save_and_evaluate()
        if self.board:
            self.board.close()
        return checkpoint.path_of(self.model_dir, self.position.step)

    def _step(self, batch: Batch) -> None:
        here = self.position
        done = self.stepper(batch.to(self.device, non_blocking=True), here.step, here.epoch)
        here.step += 1
        here.epoch_step += 1
        if here.epoch_step == self.train.steps:
            here.epoch, here.epoch_step = here.epoch + 1, 0
        self.log.add(batch.rows, done.loss, done.weight)
        if here.step % self.plan.log_steps == 0 or here.step == self.last_step:
            self.log.write(done.rates)

    def _save_is_due(self) -> bool:
        here = self.position
        if self.plan.save_epochs and here.epoch_step == 0 and here.epoch % self.plan.save_epochs == 0:
            return True
        return bool(self.plan.save_steps) and here.step % self.plan.save_steps == 0

    def _save_and_evaluate(self) -> int:
        """Saves first: an evaluation that fails costs no training."""
        check_replicas(self.model, self.world)
        facts = Facts(replace(self.position), describe_plan(self.model))
        tensors = state_of(self.model, self.optimizers)
        saved = checkpoint.save(self.model_dir, tensors, facts, self.world)
        say(self.world, f"saved {saved}")
        if self.test is not None:
            self.metrics = evaluate(
                self.model,
                self.test,
                self.objective,
                self.world,
                self.device,
                self.plan.eval_steps,
                self.plan.eval_log_steps,
            )
            say(self.world, f"evaluation at step {self.position.step} | {show_metrics(self.metrics)}")
            if self.world.is_first:
                facts.metrics = self.metrics
                checkpoint.write_facts(saved, facts)
                append_line(
                    self.model_dir / "train_eval_result.txt",
                    {"global_step": self.position.step, **self.metrics},
                )
                if self.board:
                    self.board.evaluation(self.metrics, self.position.step)
        self._thin_out()
        self.log.restart_clock()
        return self.position.step

    def _thin_out(self) -> None:
        spare = None
        if self.plan.best_metric and self.world.is_first and self.test is not None:
            spare = checkpoint.best(self.model_dir, self.plan.best_metric, self.plan.larger_is_better)
        checkpoint.remove_old(self.model_dir, self.plan.keep, spare, self.world)

    def _report_outside(self) -> None:
        for line in outside_lines(self.features):
            print(f"rank {self.world.rank}: {line}", flush=True)


class StepLog:
    """One line every so many steps: where the run is, how fast, how long yet, losses, rates."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.started = time.perf_counter()
        self.first_step = trainer.position.step
        self._clear()

    def _clear(self) -> None:
        self.rows = self.steps = 0
        self.loss = torch.zeros(2, dtype=torch.float64)
        self.since = time.perf_counter()

    def restart_clock(self) -> None:
        """After a checkpoint and its evaluation, so that the rate is that of training."""
        self.since = time.perf_counter()
        self.rows = 0

    def add(self, rows: int, loss: torch.Tensor, weight: torch.Tensor) -> None:
        self.rows += rows
        self.steps += 1
        # A float32 sum of sums would lose digits; on a GPU this stays on it.
        self.loss = self.loss.to(loss.device) + torch.stack([loss, weight]).double()

    def write(self, rates: tuple[float, float]) -> None:
        """Collective: the loss is over the rows of all ranks since the last line."""
        trainer, here = self.trainer, self.trainer.position
        loss, weight = total(self.loss).tolist()
        loss = loss / weight if weight else 0.0
        now = time.perf_counter()
        rate = self.rows * trainer.world.size / (now - self.since)
        left = (now - self.started) / (here.step - self.first_step) * (trainer.last_step - here.step)
        epoch = here.epoch + here.epoch_step / trainer.train.steps
        say(
            trainer.world,
            f"step {here.step}/{trainer.last_step} | epoch {epoch:.2f} | {rate / 1000:.1f}k rows/s | "
            f"eta {duration(left)} | loss {loss:.4f} | lr sparse {rates[0]:.3g} dense {rates[1]:.3g}",
        )
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {here.step}; lower the learning rates or look for values "
                "beyond measure in raw features, then go on from the last checkpoint with --continue_train"
            )
        if trainer.board:
            trainer.board.training(trainer.plan.summaries, loss, rates, here.step)
        self._clear()


class Board:
    """TensorBoard: training in model_dir, evaluations in model_dir/eval_val."""

    def __init__(self, model_dir: Path) -> None:
        # Imported here: it takes a second, and only the first rank needs it.
        from torch.utils.tensorboard import SummaryWriter

        self.train = SummaryWriter(str(model_dir))
        self.test = SummaryWriter(str(model_dir / "eval_val"))

    def training(
        self, summaries: tuple[str, ...], loss: float, rates: tuple[float, float], step: int
    ) -> None:
        if "loss" in summaries:
            self.train.add_scalar("loss", loss, step)
        if "learning_rate" in summaries:
            self.train.add_scalar("learning_rate/sparse", rates[0], step)
            self.train.add_scalar("learning_rate/dense", rates[1], step)

    def evaluation(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.test.add_scalar(name, value, step)
        self.test.flush()
        self.train.flush()

    def close(self) -> None:
        self.train.close()
        self.test.close()


def state_of(model: DistributedModelParallel, optimizers: Optimizers | None) -> dict[str, Any]:
    """What a checkpoint holds; loading writes into the same tensors."""
    tensors: dict[str, Any] = {"model": model.state_dict()}
    if optimizers is not None:
        tensors["optimizer"] = optimizers.combined.state_dict()
    return tensors


def restore(folder: Path, model: DistributedModelParallel, optimizers: Optimizers | None) -> Facts:
    """Loads a checkpoint into a sharded model and, when given, its optimizers. Collective."""
    tensors = state_of(model, optimizers)
    checkpoint.load(folder, tensors)
    model.load_state_dict(tensors["model"])
    if optimizers is not None:
        optimizers.combined.load_state_dict(tensors["optimizer"])
    return checkpoint.read_facts(folder)


def check_replicas(model: DistributedModelParallel, world: World) -> None:
    """The dense layers must be the same on every rank, to the bit. Collective.

    Cheap beside a save, and the only sign when gradients are not averaged: every rank then
    trains a model of its own, and the losses look as they should.
    """
    sums = [
        parameter.detach().double().sum().item()
        for _, parameter in in_backward_optimizer_filter(model.named_parameters())
    ]
    if any(other != sums for other in gather(world, sums)):
        raise RuntimeError(
            "the dense parameters differ between the processes: their gradients are not averaged"
        )


def append_line(path: Path, record: dict[str, Any]) -> None:
    """One more line of JSON in a file of results."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
