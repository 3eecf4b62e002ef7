"""Beginning a run with the parameters of another one, also where they have other names there."""

from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torchrec.distributed.model_parallel import DistributedModelParallel

from tzrec.runtime.errors import UserError, nearest
from tzrec.training.checkpoints.checks import check_files
from tzrec.training.checkpoints.reader import load, tensors_in
from tzrec.training.optimizer import Optimizers
from tzrec.training.state import state_of


def read_param_map(path: str) -> dict[str, str]:
    """Names of parameters here -> their names in the checkpoint.

    A line a parameter: the name in the new model, a tab, the name in the checkpoint. Empty lines
    and lines that begin with # say nothing.

    Raises:
        UserError: a file that cannot be read, a malformed line, a name twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(
            f"train_config.fine_tune_ckpt_param_map: {path}: cannot be read ({reason}); give a text "
            'file with a line "new name<tab>name in the checkpoint" for each parameter'
        ) from None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.rstrip("\n").split("\t")
        if len(words) != 2 or not all(words):
            raise UserError(
                f'{path}:{number}: "{line}" is not "new name<tab>name in the checkpoint"; one pair a line'
            )
        if words[0] in names:
            raise UserError(f"{path}:{number}: {words[0]} stands on an earlier line too; name it once")
        names[words[0]] = words[1]
    return names


def begin_from(
    folder: Path, model: DistributedModelParallel, optimizers: Optimizers | None, names: dict[str, str]
) -> str:
    """Takes over what the checkpoint has of a sharded model; the rest keeps its initial values. Collective.

    The state of the optimizers comes along for the parameters that are taken over.

    Args:
        folder: the checkpoint.
        model, optimizers: to load into; no optimizers for parameters alone.
        names: as `read_param_map` gives them.

    Returns:
        how much came along and which parameters are not in the checkpoint, to be said after its name.

    Raises:
        UserError: names that are not there, other shapes, or nothing in common.
        DamagedError: a file of it is missing or is not what was written.
    """
    unchecked = check_files(folder)
    held = {key: tuple(getattr(what, "size", ())) for key, what in tensors_in(folder).items()}
    tensors = state_of(model, optimizers)
    present = [key.removeprefix("model.") for key in held if key.startswith("model.")]
    _check_names(folder, names, list(tensors["model"]), present)
    sources = {name: names.get(name, name) for name in tensors["model"]}
    anew = [name for name, source in sources.items() if source not in present]
    wanted = _Wanted()
    for name, tensor in tensors["model"].items():
        source = sources[name]
        if name in anew:
            continue
        if tuple(tensor.shape) != held[f"model.{source}"]:
            raise UserError(
                f"{folder}: {source} is {list(held[f'model.{source}'])} there and {name} is "
                f"{list(tensor.shape)} here; to begin it anew, give its table or tower another name"
            )
        wanted.add(f"model.{source}", tensor)
    if not wanted.loads:
        raise UserError(
            f"{folder}: has none of this model's parameters; it has {', '.join(sorted(present)[:5])}, ..."
        )
    wanted.load(folder)
    note = ""
    if optimizers is None:
        note = ", not with the state of its optimizers"
    else:
        # Before the model takes its tensors: torch renames the keys of the dictionary it is given.
        note = _load_state(folder, tensors["optimizer"], held, sources)
    model.load_state_dict(tensors["model"])
    if optimizers is not None:
        optimizers.combined.load_state_dict(tensors["optimizer"])
    return note + (f"; not there, so begun anew: {', '.join(anew)}" if anew else "") + unchecked


class _Wanted:
    """Tensors to be read, by the names they have in the checkpoint.

    One load may ask for a name once, but several parameters may begin as the same one: then there
    are several loads.
    """

    def __init__(self) -> None:
        self.loads: list[dict[str, Tensor]] = []

    def add(self, name: str, tensor: Tensor) -> None:
        free = next((each for each in self.loads if name not in each), None)
        if free is None:
            self.loads.append(free := {})
        free[name] = tensor

    def load(self, folder: Path) -> None:
        """Reads all of them. Collective, and so one load for all ranks where one rank has one."""
        rounds = max(_everywhere(len(self.loads)))
        for i in range(rounds):
            load(folder, dict(self.loads[i]) if i < len(self.loads) else {})


def _everywhere(value: Any) -> list[Any]:
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _check_names(folder: Path, names: dict[str, str], here: list[str], present: list[str]) -> None:
    for new, old in names.items():
        if new not in here:
            raise UserError(f"fine_tune_ckpt_param_map: the model has no parameter {new}{nearest(new, here)}")
        if old not in present:
            raise UserError(
                f"fine_tune_ckpt_param_map: {folder} has no parameter {old}{nearest(old, present)}"
            )


def _load_state(
    folder: Path, optimizer: dict[str, Any], held: dict[str, Any], sources: dict[str, str]
) -> str:
    """Reads what the checkpoint has of the optimizers' state; says how much that was. Collective.

    Args:
        folder: the checkpoint.
        optimizer: state dictionary of the optimizers; its tensors are read into.
        held: name in the checkpoint -> shape.
        sources: name of a parameter here -> its name in the checkpoint.
    """
    wanted, all_names, found = _Wanted(), set(), set()
    for key, values in optimizer["state"].items():
        part, _, name = key.partition(".")
        source = sources.get(name, name)
        for what, value in values.items():
            if not isinstance(value, Tensor):
                continue
            all_names.add((key, what))
            there = f"optimizer.state.{part}.{source}.{_state_name(what, name, source)}"
            if held.get(there) == tuple(value.shape):
                found.add((key, what))
                wanted.add(there, value)
    wanted.load(folder)
    # A rank has the state of the tables that lie there.
    count, of = (len(set().union(*_everywhere(names))) for names in (found, all_names))
    return f" and the state of its optimizers ({count} of {of} tensors)" if of else ""


def _state_name(what: str, name: str, source: str) -> str:
    """Under which name the state of a parameter lies; that of a table bears the table's name too."""
    table, there = (text.split(".")[-2:-1] for text in (name, source))
    if table and there and what.startswith(f"{table[0]}."):
        return there[0] + what.removeprefix(table[0])
    return what
