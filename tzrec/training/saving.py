"""Writing checkpoints while training goes on.

Training stands still while the tensors are copied. A thread then writes the copy, on a process
group of its own, and gives the folder its name when every rank has written its part.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from tzrec.runtime.command import explain
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import own_group
from tzrec.runtime.progress import say
from tzrec.runtime.world import World, patience
from tzrec.training import checkpoint
from tzrec.training.checkpoint import Facts
from tzrec.training.checkpoints.checks import own_checksums
from tzrec.training.checkpoints.reader import first_cause
from tzrec.training.checkpoints.writer import write


class Saver:
    """Saves one checkpoint at a time, in the background. All ranks make one and call the same methods.

    Args:
        model_dir: where checkpoints go; a file system that all hosts share.
        world: the place of this process.
        saved: called on the first rank, in the thread, when a checkpoint has its name.
    """

    def __init__(self, model_dir: Path, world: World, saved: Callable[[], None] = lambda: None) -> None:
        self.model_dir, self.world, self.saved = model_dir, world, saved
        self.group = own_group()
        self.flight: _Flight | None = None
        self.begun: Path | None = None

    def begin(self, tensors: dict[str, Any], facts: Facts) -> None:
        """Copies the tensors and begins to write them; waits for the save before, if it is under way.

        Collective.

        Args:
            tensors: state dictionaries, sharded.
            facts: what stands beside them.

        Raises:
            UserError: the save before has failed.
        """
        self.finish()
        stager = DefaultStager(StagingOptions(False, False, False, False))
        copied = stager.stage(tensors)
        stager.close()
        assert isinstance(copied, dict)
        self.flight = _Flight(self, copied, facts)

    def add_metrics(self, metrics: dict[str, float]) -> None:
        """Writes the evaluation of the last save beside it, now or as soon as it has its name.

        Before the first save of a run that is the checkpoint which it has begun with.
        """
        if self.flight is not None and self.world.is_first:
            self.flight.add_metrics(metrics)
        elif self.begun is not None and self.world.is_first:
            facts = checkpoint.read_facts(self.begun)
            facts.metrics = metrics
            checkpoint.write_facts(self.begun, facts)

    def check(self) -> None:
        """Raises what went wrong in the background so far; cheap enough for every step."""
        if self.flight is not None and not self.flight.thread.is_alive():
            self.flight.raise_failure()

    def finish(self) -> None:
        """Waits for the save that is under way.

        Raises:
            UserError: it has failed, or has not finished within TZREC_PATIENCE.
        """
        if self.flight is not None:
            self.flight.wait()
            self.flight.raise_failure()


class _Flight:
    """One save under way."""

    def __init__(self, saver: Saver, tensors: dict[str, Any], facts: Facts) -> None:
        self.saver, self.tensors, self.facts = saver, tensors, facts
        self.folder = checkpoint.path_of(saver.model_dir, facts.position.step)
        self.failure: BaseException | None = None
        self.named = False
        self.lock = threading.Lock()
        # A daemon: a process that fails must not wait for a write that may wait for its peers.
        self.thread = threading.Thread(target=self._run, name="save", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        staging = self.folder.with_name(self.folder.name + checkpoint.SAVING)
        try:
            own = self._try(staging, lambda: self._write(staging))
            # No rank takes a save for done that failed on another one, in its part or at the name.
            parts = self._tell(own)
            if not self._failed(parts):
                for part in parts:
                    self.facts.files |= part
                named = self._try(staging, lambda: self._give_name(staging))
                self._failed(self._tell(named))
        except BaseException as error:
            self.failure = self.failure or error

    def _write(self, staging: Path) -> dict[str, str]:
        write(self.tensors, staging, self.saver.group)
        self.tensors = {}
        return own_checksums(staging, self.saver.world.rank)

    def _give_name(self, staging: Path) -> dict[str, str]:
        if self.saver.world.is_first:
            with self._locked():
                checkpoint.write_facts(staging, self.facts)
                checkpoint.give_name(staging, self.folder)
                self.named = True
            say(self.saver.world, f"saved {self.folder}")
            self.saver.saved()
        return {}

    def _try(self, staging: Path, part: Callable[[], dict[str, str]]) -> dict[str, str] | str:
        """What a part of the save returns, or why it failed, in a line."""
        try:
            return part()
        except BaseException as error:
            self.tensors = {}
            self.failure = first_cause(error)
            if self.saver.world.is_first:
                shutil.rmtree(staging, ignore_errors=True)
            return _one_line(self.failure)

    def _tell(self, part: dict[str, str] | str) -> list[Any]:
        """Every rank's part, on every rank."""
        parts: list[Any] = [None] * self.saver.world.size
        dist.all_gather_object(parts, part, group=self.saver.group)
        return parts

    def _failed(self, parts: list[Any]) -> bool:
        failed = next((part for part in parts if isinstance(part, str)), None)
        if failed is not None:
            self.failure = UserError(
                f"{self.folder}: cannot be saved ({failed}); older checkpoints are untouched: put this "
                "right and go on from the newest with --continue_train"
            )
        return failed is not None

    def add_metrics(self, metrics: dict[str, float]) -> None:
        with self._locked():
            self.facts.metrics = metrics
            if self.named:
                checkpoint.write_facts(self.folder, self.facts)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.lock.acquire(timeout=patience()):
            raise self._too_slow()
        try:
            yield
        finally:
            self.lock.release()

    def wait(self) -> None:
        """Waits for the thread."""
        self.thread.join(patience())
        if self.thread.is_alive():
            raise self._too_slow()

    def _too_slow(self) -> UserError:
        return UserError(
            f"{self.folder}: is not saved after {patience():g} s (TZREC_PATIENCE): the disk or the network "
            "file system does not answer; look at it, then go on from the newest checkpoint with "
            "--continue_train"
        )

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure


def _one_line(error: BaseException) -> str:
    text, _ = explain(error)
    return (text or f"{type(error).__name__}: {error}").splitlines()[0]
