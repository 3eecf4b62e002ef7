"""What a run tells while it trains: log lines, TensorBoard, a trace of some steps."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import nn
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.runtime.errors import UserError
from tzrec.runtime.progress import duration, say
from tzrec.runtime.storage import writing
from tzrec.runtime.world import World
from tzrec.training.checkpoint import Position
from tzrec.training.evaluate import total

T = TypeVar("T")


class StepLog:
    """One line every so many steps: where the run is, how fast, how long yet, losses, rates.

    Args:
        world: the first rank writes.
        begin: where the run begins.
        last_step: where it ends.

    Attributes:
        all_rows: rows of this rank since the run began.
    """

    def __init__(self, world: World, begin: Position, last_step: int) -> None:
        self.world, self.first_step, self.last_step = world, begin.step, last_step
        self.started = time.perf_counter()
        self.all_rows = 0
        self._clear()

    def _clear(self) -> None:
        self.loss = torch.zeros(2, dtype=torch.float64)
        self.restart_clock()

    def restart_clock(self) -> None:
        """After a checkpoint and its evaluation, so that the rate is that of training."""
        self.since = time.perf_counter()
        self.rows = 0
        self.waited = 0.0

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time that they keep the training step waiting is counted."""
        remaining = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(remaining)
            except StopIteration:
                return
            self.waited += time.perf_counter() - asked
            yield batch

    def add(self, rows: int, loss: torch.Tensor, weight: torch.Tensor) -> None:
        """Counts a step: its rows, the sums of its losses and of its weights, on this rank."""
        self.rows += rows
        self.all_rows += rows
        # A float32 sum of sums would lose digits; on a GPU this stays on it.
        self.loss = self.loss.to(loss.device) + torch.stack([loss, weight]).double()

    def write(self, here: Position, steps_in_pass: int, rates: tuple[float, float]) -> float:
        """Writes the line and returns the loss over the rows of all ranks since the last one. Collective.

        Raises:
            UserError: the loss is no number any more.
        """
        loss, weight = total(self.loss).tolist()
        loss = loss / weight if weight else 0.0
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        left = (now - self.started) / (here.step - self.first_step) * (self.last_step - here.step)
        say(
            self.world,
            f"step {here.step}/{self.last_step} | epoch {here.epoch + here.epoch_step / steps_in_pass:.2f} | "
            f"{self.rows * self.world.size / seconds / 1000:.1f}k rows/s | waiting for data "
            f"{self.waited / seconds:.0%} | eta {duration(left)} | loss {loss:.4f} | "
            f"lr sparse {rates[0]:.3g} dense {rates[1]:.3g}",
        )
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {here.step}; lower the learning rates or look for values "
                "beyond measure in raw features, then go on from the last checkpoint with --continue_train"
            )
        self._clear()
        return loss


class Board:
    """TensorBoard: training in model_dir, evaluations in model_dir/eval_val.

    Args:
        model_dir: where the event files go.
        summaries: what is written at each log line: "loss", "learning_rate", and of the dense
            layers "parameter" and "gradient" (histograms), "gradient_norm" (of each parameter)
            and "global_gradient_norm" (of all). Embedding tables are updated within the backward
            pass and have no gradient to show.

    Raises:
        UserError: the event files cannot be written, at once or in a call of any method.
    """

    def __init__(self, model_dir: Path, summaries: tuple[str, ...]) -> None:
        # Imported here: it takes a second, and only the first rank needs it.
        from torch.utils.tensorboard import SummaryWriter

        self.summaries, self.model_dir = summaries, model_dir
        # tensorboard's threads print a traceback of an error that they hand on to the next call too.
        threading.excepthook = _silence_tensorboard(threading.excepthook)
        with self._writing():
            self.train = SummaryWriter(str(model_dir))
            self.test = SummaryWriter(str(model_dir / "eval_val"))

    def _writing(self) -> AbstractContextManager[None]:
        return writing(f"{self.model_dir}/events.out.tfevents.*")

    def training(self, model: nn.Module, loss: float, rates: tuple[float, float], step: int) -> None:
        """The summaries of one step; gradients are those that the optimizer has just used."""
        with self._writing():
            self._step(model, loss, rates, step)

    def _step(self, model: nn.Module, loss: float, rates: tuple[float, float], step: int) -> None:
        if "loss" in self.summaries:
            self.train.add_scalar("loss", loss, step)
        if "learning_rate" in self.summaries:
            self.train.add_scalar("learning_rate/sparse", rates[0], step)
            self.train.add_scalar("learning_rate/dense", rates[1], step)
        if not {"parameter", "gradient", "gradient_norm", "global_gradient_norm"} & set(self.summaries):
            return
        norms = []
        for name, parameter in in_backward_optimizer_filter(model.named_parameters()):
            if "parameter" in self.summaries:
                self.train.add_histogram(f"parameter/{name}", parameter.detach().cpu(), step)
            if parameter.grad is None:
                continue
            gradient = parameter.grad.detach().float()
            norms.append(gradient.norm())
            if "gradient" in self.summaries:
                self.train.add_histogram(f"gradient/{name}", gradient.cpu(), step)
            if "gradient_norm" in self.summaries:
                self.train.add_scalar(f"gradient_norm/{name}", norms[-1].item(), step)
        if "global_gradient_norm" in self.summaries and norms:
            self.train.add_scalar("global_gradient_norm", torch.stack(norms).norm().item(), step)

    def evaluation(self, metrics: dict[str, float], step: int) -> None:
        """The metrics of an evaluation."""
        with self._writing():
            for name, value in metrics.items():
                self.test.add_scalar(name, value, step)
            self.test.flush()
            self.train.flush()

    def close(self) -> None:
        with self._writing():
            self.train.close()
            self.test.close()


def _silence_tensorboard(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """A hook for errors in threads that leaves out those of tensorboard's."""
    if getattr(hook, "leaves_out_tensorboard", False):
        return hook

    def silenced(arguments: Any) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            hook(arguments)

    silenced.leaves_out_tensorboard = True  # type: ignore[attr-defined]
    return silenced


class Profile:
    """A trace of some steps for Chrome or Perfetto; a context manager.

    Args:
        path: of the trace.
        steps: how many the run has; 0 traces nothing.
    """

    # Steps that are left out at first (caches, allocations), and those in the trace.
    SKIPPED, TRACED = 10, 10

    def __init__(self, path: Path, steps: int) -> None:
        self.profiler: Any = None
        if not steps:
            return
        from torch.profiler import profile, schedule

        skipped = min(self.SKIPPED, max(steps - self.TRACED - 1, 0))
        self.profiler = profile(
            # A run of one step has none to warm up with.
            schedule=schedule(wait=skipped, warmup=1, active=self.TRACED, repeat=1) if steps > 1 else None,
            on_trace_ready=lambda finished: finished.export_chrome_trace(str(path)),
        )

    def step(self) -> None:
        """A step is done."""
        if self.profiler is not None:
            self.profiler.step()

    def __enter__(self) -> "Profile":
        if self.profiler is not None:
            self.profiler.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.profiler is not None:
            self.profiler.__exit__(kind, error, trace)
