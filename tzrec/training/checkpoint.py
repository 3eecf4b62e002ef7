"""Checkpoints: `model.ckpt-{step}` folders that appear by one rename when they are whole.

A folder holds what torch.distributed.checkpoint writes (model and optimizer, sharded) and
`state.json`: how far the run and its pass have come, the sharding plan, metrics, checksums. A
folder whose name ends in `.saving` was cut off; it is never read and is removed by the next run.

Here: which checkpoints there are, which one is meant and which ones stay. What is inside of one:
the folder `checkpoints`. Nothing here imports torch.
"""

import os
import shutil
from pathlib import Path

from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import barrier
from tzrec.runtime.progress import say
from tzrec.runtime.world import World
from tzrec.training.checkpoints.checks import DamagedError, read_facts
from tzrec.training.checkpoints.facts import STATE, Data, Facts, Position, replace_text, write_facts
from tzrec.training.checkpoints.folders import NAME, REMOVING, SAVING, path_of, steps_in

__all__ = [
    "SAVING",
    "DamagedError",
    "Data",
    "Facts",
    "Position",
    "best",
    "find",
    "give_name",
    "newest",
    "path_of",
    "read_facts",
    "remove",
    "remove_cut_off",
    "remove_old",
    "replace_text",
    "steps_in",
    "write_facts",
]


def newest(model_dir: str | Path) -> Path | None:
    """The checkpoint of most steps, or None; `read_facts` and `check_files` say whether it is whole."""
    steps = steps_in(model_dir)
    return path_of(model_dir, steps[-1]) if steps else None


def find(model_dir: str | Path, asked: str | None) -> Path:
    """The checkpoint that `asked` names: its folder, or a model_dir whose newest is meant.

    Raises:
        UserError: there is none.
        DamagedError: its state.json cannot be read.
    """
    found = _named(model_dir, asked)
    read_facts(found)
    return found


def _named(model_dir: str | Path, asked: str | None) -> Path:
    if not asked:
        found = newest(model_dir)
        if found is None:
            raise UserError(f"{model_dir}: holds no checkpoint (model.ckpt-STEP); train first")
        return found
    folder = Path(asked.rstrip("/") or "/")
    is_one = NAME.fullmatch(folder.name) and folder.is_dir()
    if is_one or any((folder / name).is_file() for name in (STATE, ".metadata")):
        return folder
    found = newest(folder)
    if found is None:
        around = folder.parent if NAME.fullmatch(folder.name) and steps_in(folder.parent) else model_dir
        known = [path_of(around, step).name for step in steps_in(around)]
        raise UserError(
            f"checkpoint {asked}: is no checkpoint and holds none; "
            + (
                f"{around} has {', '.join(known)}"
                if known
                else "give the folder of one, model.ckpt-N, or the model_dir of a run that has saved some"
            )
        )
    return found


def best(model_dir: str | Path, metric: str, larger_is_better: bool) -> Path | None:
    """The checkpoint whose evaluation was best, or None where none was evaluated.

    Where only some checkpoints have checksums, the others do not count: they are from before
    evaluation had negatives of its own, and their sampled metrics are higher for nothing.

    Raises:
        UserError: evaluations know no such metric.
        DamagedError: the state.json of a checkpoint cannot be read.
    """
    scored: list[tuple[float, int]] = []
    known: set[str] = set()
    evaluated = [(step, read_facts(path_of(model_dir, step))) for step in steps_in(model_dir)]
    comparable = [(step, facts) for step, facts in evaluated if facts.files and facts.metrics]
    for step, facts in comparable or evaluated:
        metrics = facts.metrics
        known |= set(metrics)
        if metric in metrics:
            scored.append((metrics[metric] if larger_is_better else -metrics[metric], step))
    if not scored and known:
        raise UserError(
            f'export_config.best_exporter_metric: no evaluation reported "{metric}"; '
            f"they report {', '.join(sorted(known))}"
        )
    return path_of(model_dir, max(scored)[1]) if scored else None


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


def remove_cut_off(model_dir: str | Path, world: World, ours: bool = True) -> None:
    """Clears away what runs that were cut off have left. Collective.

    Args:
        model_dir: where they ran.
        world: the place of this process.
        ours: whether no other run can be under way there; if not, the leftovers are only named.
    """
    if world.is_first and Path(model_dir).is_dir():
        folder = Path(model_dir)
        left = [entry for ending in (SAVING, REMOVING) for entry in folder.glob(f"model.ckpt-*{ending}")]
        if ours:
            for entry in left:
                shutil.rmtree(entry, ignore_errors=True)
        elif left:
            say(
                world,
                f"{model_dir}: this file system cannot lock; if no other run is under way there, remove "
                f"{', '.join(entry.name for entry in left)}",
            )
    barrier(world)


def remove_old(model_dir: str | Path, keep: int, spare: Path | None) -> None:
    """Keeps the newest `keep` checkpoints and `spare`; all when `keep` is 0."""
    for step in steps_in(model_dir)[:-keep] if keep else []:
        if path_of(model_dir, step) != spare:
            remove(path_of(model_dir, step))
