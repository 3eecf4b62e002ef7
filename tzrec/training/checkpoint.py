"""Checkpoints: `model.ckpt-{step}` folders that appear by one rename when they are whole.

A folder holds what torch.distributed.checkpoint writes (model and optimizer, sharded) and
`state.json`: how far the run and its pass have come, the sharding plan, metrics. A folder whose
name ends in `.saving` was cut off; it is never read and is removed by the next run.
"""

import json
import os
import re
import shutil
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp

from tzrec.datasets.division import Leg
from tzrec.datasets.rows import SEED
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import barrier
from tzrec.runtime.world import World

NAME = re.compile(r"model\.ckpt-(\d+)$")
SAVING = ".saving"
REMOVING = ".removing"


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        step: steps done in all.
        epoch: whole passes over the table done.
        epoch_step: steps done in the pass that is under way.
    """

    step: int = 0
    epoch: int = 0
    epoch_step: int = 0


@dataclass
class Data:
    """How far the pass under way has come, for every rank and worker at once.

    Attributes:
        table: fingerprint of the row groups; with another table the pass cannot go on.
        rows: of the whole table.
        legs: how the rows of the pass were divided so far, one entry a division.
        seed: what the order of rows, the negatives and the random numbers of a step come from.
    """

    table: str = ""
    rows: int = 0
    legs: tuple[Leg, ...] = ()
    seed: int = SEED


@dataclass
class Facts:
    """What `state.json` holds beside the tensors."""

    position: Position = field(default_factory=Position)
    data: Data = field(default_factory=Data)
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
    """What the checkpoint says of itself.

    Raises:
        UserError: it was written by another version.
    """
    held = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    try:
        data = held["data"]
        legs = tuple(Leg(**leg) for leg in data["legs"])
        return Facts(
            Position(**held["position"]), Data(**{**data, "legs": legs}), held["plan"], held["metrics"]
        )
    except (KeyError, TypeError):
        raise UserError(
            f"{checkpoint}/state.json: was not written by this version of tzrec; take the version that "
            "trained it, or begin in a new model_dir"
        ) from None


def write_facts(checkpoint: Path, facts: Facts) -> None:
    """Replaces `state.json` in one go."""
    replace_text(checkpoint / "state.json", json.dumps(asdict(facts), indent=1))


def replace_text(path: Path, text: str) -> None:
    """The file has the old content or the new one, never a part, also when the power fails."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)


def give_name(staging: Path, final: Path) -> None:
    """Gives a whole checkpoint its name, also where an older one has it."""
    if final.exists():
        remove(final)
    os.rename(staging, final)


def remove(folder: Path) -> None:
    """Deletes a checkpoint; under its own name it is whole until it is gone."""
    doomed = folder.with_name(folder.name + REMOVING)
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


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
        reason = (str(first_cause(error)) or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"{checkpoint}: does not fit the model of this configuration ({reason}); "
            "train with the configuration it was made with, or without --continue_train into a new model_dir"
        ) from error


def first_cause(error: BaseException) -> BaseException:
    """The error of the rank that failed, out of what torch.distributed.checkpoint wraps it in."""
    while isinstance(error, dcp.api.CheckpointException) and error.failures:
        failure = next(iter(error.failures.values()))
        error = failure[0] if isinstance(failure, tuple) else failure
    return error


def remove_cut_off(model_dir: str | Path, world: World) -> None:
    """Clears away what runs that were cut off have left. Collective."""
    if world.is_first and Path(model_dir).is_dir():
        for ending in (SAVING, REMOVING):
            for entry in Path(model_dir).glob(f"model.ckpt-*{ending}"):
                shutil.rmtree(entry, ignore_errors=True)
    barrier(world)


def remove_old(model_dir: str | Path, keep: int, spare: Path | None) -> None:
    """Keeps the newest `keep` checkpoints and `spare`; all when `keep` is 0."""
    for step in steps_in(model_dir)[:-keep] if keep else []:
        if path_of(model_dir, step) != spare:
            remove(path_of(model_dir, step))
