"""Beginning a run with the parameters of another one, also where they have other names there."""

from pathlib import Path
from typing import Any

from torch import Tensor
from torchrec.distributed.model_parallel import DistributedModelParallel

from tzrec.runtime.errors import UserError, nearest
from tzrec.training import checkpoint
from tzrec.training.optimizer import Optimizers
from tzrec.training.state import names_in, state_of


def read_param_map(path: str) -> dict[str, str]:
    """Names of parameters here -> their names in the checkpoint.

    A line a parameter: the name in the new model, a tab, the name in the checkpoint. Empty lines
    and lines that begin with # say nothing.

    Raises:
        UserError: a file that cannot be read, a malformed line, a name twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"train_config.fine_tune_ckpt_param_map: {path}: cannot be read ({error})") from None
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

    The state of the optimizers comes along for parameters of the same name.

    Args:
        folder: the checkpoint.
        model, optimizers: to load into; no optimizers for parameters alone.
        names: as `read_param_map` gives them.

    Returns:
        the names of parameters that are not in the checkpoint, as a sentence; "" for none.

    Raises:
        UserError: names that are not there, other shapes, or nothing in common.
    """
    held = {key: tuple(getattr(what, "size", ())) for key, what in names_in(folder).items()}
    tensors = state_of(model, optimizers)
    present = [key.removeprefix("model.") for key in held if key.startswith("model.")]
    _check_names(folder, names, list(tensors["model"]), present)
    # One load may ask for a name once, but several parameters may begin as the same one.
    loads: list[dict[str, Any]] = [{}]
    anew = []
    for name, tensor in tensors["model"].items():
        source = names.get(name, name)
        if source not in present:
            anew.append(name)
            continue
        if tuple(tensor.shape) != held[f"model.{source}"]:
            raise UserError(
                f"{folder}: {source} is {list(held[f'model.{source}'])} there and {name} is "
                f"{list(tensor.shape)} here; to begin it anew, give its table or tower another name"
            )
        load = next((one for one in loads if source not in one), None)
        if load is None:
            loads.append(load := {})
        load[source] = tensor
    if not loads[0]:
        raise UserError(
            f"{folder}: has none of this model's parameters; it has {', '.join(sorted(present)[:5])}, ..."
        )
    for load in loads:
        checkpoint.load(folder, {"model": load})
    model.load_state_dict(tensors["model"])
    if optimizers is not None:
        unchanged = [name for name in loads[0] if names.get(name, name) == name and name in tensors["model"]]
        known = _known_state(tensors["optimizer"], held, unchanged)
        if known:
            checkpoint.load(folder, {"optimizer": known})
        optimizers.combined.load_state_dict(tensors["optimizer"])
    return f"; not there, so begun anew: {', '.join(anew)}" if anew else ""


def _check_names(folder: Path, names: dict[str, str], here: list[str], present: list[str]) -> None:
    for new, old in names.items():
        if new not in here:
            raise UserError(f"fine_tune_ckpt_param_map: the model has no parameter {new}{nearest(new, here)}")
        if old not in present:
            raise UserError(
                f"fine_tune_ckpt_param_map: {folder} has no parameter {old}{nearest(old, present)}"
            )


def _known_state(optimizer: dict[str, Any], held: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The part of the optimizers' state that the checkpoint has, for these parameters, with its tensors."""
    known: dict[str, Any] = {}
    for key, values in optimizer["state"].items():
        if not any(key.endswith(f".{name}") for name in names):
            continue
        kept = {
            what: value
            for what, value in values.items()
            if isinstance(value, Tensor) and held.get(f"optimizer.state.{key}.{what}") == tuple(value.shape)
        }
        if kept:
            known[key] = kept
    return {"state": known} if known else {}
