"""The training loop: batches to steps, steps to log lines, checkpoints and evaluations."""

import json
import os
import signal
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchrec.distributed.model_parallel import DistributedModelParallel

from tzrec.datasets.batch import Batch
from tzrec.datasets.build import EVALUATION
from tzrec.datasets.loader import Loader
from tzrec.datasets.rows import SEED
from tzrec.features.feature import Feature, outside_lines
from tzrec.runtime.progress import say
from tzrec.runtime.world import World
from tzrec.training import checkpoint
from tzrec.training.checkpoint import Data, Facts, Position
from tzrec.training.evaluate import evaluate, show_metrics
from tzrec.training.grouping import groups, passes
from tzrec.training.placement import describe_plan
from tzrec.training.replicas import average_statistics, check_replicas
from tzrec.training.report import Board, Profile, StepLog
from tzrec.training.saving import Saver
from tzrec.training.state import state_of
from tzrec.training.step import Stepper
from tzrec.training.stopping import Stop


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
        summaries: what they hold beside metrics; see `report.SUMMARIES`.
        profile: write a trace of some steps.
        accumulated: batches of one update; where a log line or a checkpoint is due inside these, it
            waits for the update.
        average: evaluations are those of the moving average of the dense parameters.
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
    profile: bool = False
    accumulated: int = 1
    average: bool = False

    def last_step(self, here: Position, train: Loader[Batch]) -> int:
        """Where a run that stands `here` ends."""
        if self.num_steps:
            return self.num_steps
        if self.num_epochs <= here.epoch:
            return here.step
        under_way = train.steps_in(here.epoch) - here.epoch_step
        return here.step + under_way + (self.num_epochs - here.epoch - 1) * train.steps


class Trainer:
    """One run over one table.

    Args:
        model: sharded.
        stepper: moves the model by one update, with its optimizers and its objective.
        train, test: batches; `test` may be None.
        features: asked at the end of a pass, and after an evaluation, what values had no bucket.
        plan: when to log, save and end.
        model_dir: where checkpoints and results go.
        world, device: where this process runs.
        position: where to begin.
        unevaluated: the evaluation of the checkpoint it begins from was cut off, and is made up for.
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
        unevaluated: bool = False,
    ) -> None:
        self.model, self.stepper = model, stepper
        self.optimizers, self.objective = stepper.optimizers, stepper.objective
        self.train, self.test, self.features = train, test, features
        self.plan, self.model_dir, self.world, self.device = plan, model_dir, world, device
        self.position = position or Position()
        self.last_step = plan.last_step(self.position, train)
        self.evaluations: list[tuple[int, dict[str, float]]] = []
        self.saver = Saver(model_dir, world, self._thin_out)
        self.unevaluated = unevaluated
        self.board = Board(model_dir, plan.summaries) if plan.tensorboard and world.is_first else None
        self.log = StepLog(world, self.position, self.last_step)
        steps = -(-(self.last_step - self.position.step) // plan.accumulated)
        self.profile = Profile(model_dir / f"trace-{world.rank}.json", steps if plan.profile else 0)

    def run(self) -> bool:
        """Trains to the end or to a signal; returns whether it came to the end. Collective.

        Raises:
            UserError: the loss is no number any more, a checkpoint cannot be saved.
            KeyboardInterrupt: stopped by SIGINT, after a checkpoint.
        """
        self.model.train()
        done = checkpoint.newest(self.model_dir)
        # A run that goes on where nothing is left to do must not touch the checkpoint it came from.
        saved = self.position.step if done == self.folder else -1
        with Stop(self.world) as stop, self.profile:
            if self.unevaluated:
                self.saver.begun = self.folder
                self._evaluate(stop)
            while self.position.step < self.last_step and not stop.decided:
                here = self.position
                batches = self.log.waiting(self.train.batches(here.epoch, here.epoch_step))
                left = self.last_step - here.step
                for group in groups(batches, self.plan.accumulated, here.epoch_step, left):
                    before = here.step
                    self._update(group)
                    self.profile.step()
                    self.saver.check()
                    if stop.agreed():
                        break
                    if self._save_is_due(before):
                        saved = self._save()
                        self._evaluate(stop)
                    if stop.decided or self.position.step == self.last_step:
                        break
                self._report_outside()
            if saved != self.position.step:
                self._save()
                if not stop.decided:
                    self._evaluate(stop)
            self.saver.finish()
            if self.world.is_first:
                self._thin_out()
        if self.board:
            self.board.close()
        if stop.decided:
            say(
                self.world,
                f"stopped by {stop.name} at step {self.position.step} of {self.last_step}, checkpoint "
                f"{self.folder}; the same command with --continue_train goes on from it",
            )
        if stop.decided == signal.SIGINT:
            raise KeyboardInterrupt
        return not stop.decided

    @property
    def folder(self) -> Path:
        """The checkpoint of this step."""
        return checkpoint.path_of(self.model_dir, self.position.step)

    def _update(self, group: list[Batch]) -> None:
        here, before = self.position, self.position.step
        on_device = [batch.to(self.device, non_blocking=True) for batch in group]
        done = self.stepper(
            on_device,
            here.step,
            here.epoch,
            lambda i: seed_step(self.device, self.world.rank, here.epoch, here.epoch_step + i),
        )
        here.step += len(group)
        here.epoch_step += len(group)
        if here.epoch_step == self.train.steps_in(here.epoch):
            here.epoch, here.epoch_step = here.epoch + 1, 0
        self.log.add(sum(batch.rows for batch in group), done.loss, done.weight)
        if passes(before, here.step, self.plan.log_steps) or here.step == self.last_step:
            loss = self.log.write(here, self.train.steps_in(here.epoch), done.rates)
            if self.board:
                self.board.training(self.model, loss, done.rates, here.step)

    def _save_is_due(self, before: int) -> bool:
        here = self.position
        if self.plan.save_epochs and here.epoch_step == 0 and here.epoch % self.plan.save_epochs == 0:
            return True
        return bool(self.plan.save_steps) and passes(before, here.step, self.plan.save_steps)

    def _save(self) -> int:
        check_replicas(self.model, self.world)
        average_statistics(self.model, self.world)
        here, table = replace(self.position), self.train.table
        data = Data(table.fingerprint, table.num_rows, self.train.legs(here.epoch, here.epoch_step))
        facts = Facts(here, data, describe_plan(self.model))
        self.saver.begin(state_of(self.model, self.optimizers), facts)
        self.log.restart_clock()
        return here.step

    def _evaluate(self, stop: Stop) -> None:
        """After the save: an evaluation that fails costs no training. A signal breaks it off."""
        if self.test is None:
            return
        average = self.optimizers.average if self.plan.average else None
        with average.in_place() if average else nullcontext():
            metrics = evaluate(
                self.model,
                self.test,
                self.objective,
                self.world,
                self.device,
                self.plan.eval_steps,
                self.plan.eval_log_steps,
                interrupted=stop.agreed,
            )
        if metrics:
            step = self.position.step
            self.evaluations.append((step, metrics))
            say(self.world, f"evaluation at step {step} | {show_metrics(metrics)}")
            self.saver.add_metrics(metrics)
            if self.world.is_first:
                append_line(self.model_dir / "train_eval_result.txt", {"global_step": step, **metrics})
            if self.board:
                self.board.evaluation(metrics, step)
        self._report_outside(EVALUATION)
        self.log.restart_clock()

    def _thin_out(self) -> None:
        spare = None
        if self.plan.best_metric and self.test is not None:
            try:
                spare = checkpoint.best(self.model_dir, self.plan.best_metric, self.plan.larger_is_better)
            except checkpoint.DamagedError as error:
                # It may have been the best: nothing is deleted until somebody has looked at it.
                say(self.world, f"no old checkpoint is removed: {error}")
                return
        checkpoint.remove_old(self.model_dir, self.plan.keep, spare)

    def best(self) -> tuple[str, float, int] | None:
        """(metric, value, step) of the best evaluation of this run, by the first metric if none is named."""
        if not self.evaluations:
            return None
        name = self.plan.best_metric or next(iter(self.evaluations[0][1]))
        sign = 1 if self.plan.larger_is_better or not self.plan.best_metric else -1
        step, metrics = max(self.evaluations, key=lambda evaluation: sign * evaluation[1][name])
        return name, metrics[name], step

    def _report_outside(self, purpose: str = "") -> None:
        for line in outside_lines(self.features, purpose):
            print(f"rank {self.world.rank}: {line}", flush=True)


def seed_step(device: torch.device, rank: int, epoch: int, step: int) -> None:
    """Makes the random numbers of a step (dropout) a function of these, as its negatives are.

    So a run that goes on draws what it would have drawn, and nothing but the position is saved.
    """
    high, low = np.random.SeedSequence([SEED, rank, epoch, step]).generate_state(2)
    seed = int(high) << 32 | int(low)
    # Not torch.manual_seed: it asks every kind of device there is, which takes most of a millisecond.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """One more line of JSON in a file of results, whole or not at all.

    Raises:
        OSError: it cannot be written; it names the file.
    """
    line = (json.dumps(record) + "\n").encode()
    with path.open("ab", buffering=0) as stream:
        before = os.fstat(stream.fileno()).st_size
        try:
            while line:
                line = line[stream.write(line) :]
        except OSError as error:
            # Part of a line would be glued to the next one.
            with suppress(OSError):
                stream.truncate(before)
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
