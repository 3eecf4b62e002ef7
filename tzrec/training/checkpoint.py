"""Checkpoints: `model.ckpt-{step}` folders that appear by one rename when they are whole.

A folder holds what torch.distributed.checkpoint writes (model and optimizer, sharded) and
`state.json`: step, pass, place in the pass, metrics, the sharding plan. A folder whose name ends
in `.saving` was cut off; it is never read and is removed by the next run.
"""

import json
import os
import re
import shutil
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp

from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import barrier
from tzrec.runtime.world import World

NAME = re.compile(r"model\.ckpt-(\d+)$")
SAVING = ".saving"


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        step: steps done in all.
        epoch: whole passes over the table done.
        epoch_step: steps done in the pass that is under way.
        table_rows: rows of the whole table; a table that changed in between is noticed.
        world: processes of the run.
        batch_size: rows a step and process.
    """

    step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    table_rows: int = 0
    world: int = 1
    batch_size: int = 0

    def carried_to(self, now: "Position", steps: int) -> "Position":
        """This position in a run that may divide the table in another way.

        Where the division is another one, the pass goes on after as many steps as hold the
        rows that were done.

        Args:
            now: the beginning of the new run.
            steps: of a pass of the new run.
        """
        division = (self.table_rows, self.world, self.batch_size)
        done = self.epoch_step
        if division != (now.table_rows, now.world, now.batch_size):
            done = done * self.world * self.batch_size // (now.world * now.batch_size)
        epoch = self.epoch
        if done >= steps:
            epoch, done = epoch + 1, 0
        return replace(now, step=self.step, epoch=epoch, epoch_step=done)


@dataclass
class Facts:
    """What `state.json` holds beside the tensors."""

    position: Position = field(default_factory=Position)
    plan: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def steps_in(model_dir: str | Path) -> list[int]:
    """The steps of all whole checkpoints, ascending."""
    folder = Path(model_dir)
    if not folder.is_dir():
        return []
    names = (NAME.fullmatch(entry.name) for entry in folder.iterdir() if (entry / "state.json").is_file())
    return sorted(int(match[1]) for match in names if match)


def path_of(model_dir: str | Path, step: int) -> Path:
    return Path(model_dir) / f"model.ckpt-{step}"


def newest(model_dir: str | Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    steps = steps_in(model_dir)
    return path_of(model_dir, steps[-1]) if steps else None


def find(model_dir: str | Path, asked: str | None) -> Path:
    """The checkpoint that `asked` names: its folder, or a model_dir whose newest is meant.

    Raises:
        UserError: there is none.
    """
    if not asked:
        found = newest(model_dir)
        if found is None:
            raise UserError(f"{model_dir}: holds no checkpoint (model.ckpt-STEP); train first")
        return found
    folder = Path(asked.rstrip("/"))
    if (folder / "state.json").is_file():
        return folder
    found = newest(folder)
    if found is None:
        known = [path_of(model_dir, step).name for step in steps_in(model_dir)]
        raise UserError(
            f"checkpoint {asked}: is no checkpoint and holds none; "
            + (f"{model_dir} has {', '.join(known)}" if known else f"{model_dir} has none either")
        )
    return found


def best(model_dir: str | Path, metric: str, larger_is_better: bool) -> Path | None:
    """The checkpoint whose evaluation was best, or None where none was evaluated.

    Raises:
        UserError: evaluations know no such metric.
    """
    scored: list[tuple[float, int]] = []
    known: set[str] = set()
    for step in steps_in(model_dir):
        metrics = read_facts(path_of(model_dir, step)).metrics
        known |= set(metrics)
        if metric in metrics:
            scored.append((metrics[metric] if larger_is_better else -metrics[metric], step))
    if not scored and known:
        raise UserError(
            f'export_config.best_exporter_metric: no evaluation reported "{metric}"; '
            f"they report {', '.join(sorted(known))}"
        )
    return path_of(model_dir, max(scored)[1]) if scored else None


def read_facts(checkpoint: Path) -> Facts:
    """What the checkpoint says of itself."""
    held = json.loads((checkpoint / "state.json").read_text())
    return Facts(Position(**held["position"]), held["plan"], held["metrics"])


def write_facts(checkpoint: Path, facts: Facts) -> None:
    """Replaces `state.json` in one go."""
    replace_text(checkpoint / "state.json", json.dumps(asdict(facts), indent=1))


def replace_text(path: Path, text: str) -> None:
    """The file has the old content or the new one, never a part."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def save(model_dir: str | Path, tensors: dict[str, Any], facts: Facts, world: World) -> Path:
    """Writes the checkpoint of `facts.position.step`. Collective.

    Args:
        model_dir: where it goes.
        tensors: state dictionaries, sharded.
        facts: what stands beside them.
        world: the place of this process.
    """
    final = path_of(model_dir, facts.position.step)
    staging = final.with_name(final.name + SAVING)
    if world.is_first:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    barrier(world)
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(staging))
    # The write above ends on every rank before the coordinator has written its index.
    barrier(world)
    if world.is_first:
        write_facts(staging, facts)
        if final.exists():
            shutil.rmtree(final)
        os.rename(staging, final)
    barrier(world)
    return final


def load(checkpoint: Path, tensors: dict[str, Any], alone: bool = False) -> None:
    """Reads a checkpoint into `tensors`, in place; of any world size and sharding.

    Args:
        checkpoint: its folder.
        tensors: state dictionaries of the model as it is sharded now.
        alone: without a process group, in one process.

    Raises:
        UserError: tensors of other names or shapes than the checkpoint holds.
    """
    try:
        if alone:
            # It warns that there is no process group, which is what `alone` asks for.
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        dcp.load(tensors, storage_reader=dcp.FileSystemReader(checkpoint), no_dist=alone)
    except (RuntimeError, ValueError, KeyError, dcp.api.CheckpointException) as error:
        reason = _first_cause(error)
        raise UserError(
            f"{checkpoint}: does not fit the model of this configuration ({reason}); "
            "train with the configuration it was made with, or without --continue_train into a new model_dir"
        ) from error


def _first_cause(error: BaseException) -> str:
    if isinstance(error, dcp.api.CheckpointException) and error.failures:
        failure = next(iter(error.failures.values()))
        error = failure[0] if isinstance(failure, tuple) else failure
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def remove_cut_off(model_dir: str | Path, world: World) -> None:
    """Clears away what runs that were cut off have left. Collective."""
    if world.is_first and Path(model_dir).is_dir():
        for entry in Path(model_dir).glob(f"model.ckpt-*{SAVING}"):
            shutil.rmtree(entry, ignore_errors=True)
    barrier(world)


def remove_old(model_dir: str | Path, keep: int, spare: Path | None, world: World) -> None:
    """Keeps the newest `keep` checkpoints and `spare`; all when `keep` is 0. Collective."""
    if keep and world.is_first:
        for step in steps_in(model_dir)[:-keep]:
            if path_of(model_dir, step) != spare:
                shutil.rmtree(path_of(model_dir, step))
    barrier(world)
