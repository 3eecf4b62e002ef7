"""What of a run lies in a checkpoint: taking it out of a model, and back into one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.datasets.batch import Batch
from tzrec.datasets.loader import Loader
from tzrec.runtime.errors import UserError
from tzrec.training.checkpoint import Facts, Position
from tzrec.training.checkpoints.checks import check_files, read_facts
from tzrec.training.checkpoints.reader import load, tensors_in
from tzrec.training.optimizer import Optimizers


def state_of(model: DistributedModelParallel, optimizers: Optimizers | None) -> dict[str, Any]:
    """What a checkpoint holds; loading writes into the same tensors."""
    tensors: dict[str, Any] = {"model": model.state_dict()}
    if optimizers is not None:
        tensors["optimizer"] = optimizers.combined.state_dict()
        if optimizers.average:
            tensors["ema"] = dict(optimizers.average.tensors)
        if optimizers.scaling:
            tensors["scaler"] = optimizers.scaling.state()
    return tensors


def restore(
    folder: Path, model: DistributedModelParallel, optimizers: Optimizers | None
) -> tuple[Facts, str]:
    """Loads a checkpoint into a sharded model and, when given, its optimizers. Collective.

    A moving average that the checkpoint does not have begins at its parameters, and a scale of
    FP16 at its first value.

    Returns:
        what stands beside the tensors, and what is to be said of what began anew.

    Raises:
        DamagedError: a file of it is missing or is not what was written.
        UserError: it does not fit the model.
    """
    unchecked = check_files(folder)
    tensors = state_of(model, optimizers)
    held = tensors_in(folder)
    absent = [part for part in ("ema", "scaler") if part in tensors and part not in parts_of(held)]
    for part in absent:
        del tensors[part]
    load(folder, tensors)
    model.load_state_dict(tensors["model"])
    if optimizers is not None:
        optimizers.combined.load_state_dict(tensors["optimizer"])
        if optimizers.scaling and "scaler" in tensors:
            optimizers.scaling.take(tensors["scaler"])
        if optimizers.average and "ema" not in tensors:
            optimizers.average.begin()
    note = "; it has no moving average, which begins at its parameters" if "ema" in absent else ""
    return read_facts(folder), note + unchecked


def evaluates_like(folder: Path, average: bool, restored: bool) -> bool:
    """Whether a model that has begun with a checkpoint evaluates as the one that was saved did.

    It does not where evaluations use a moving average that did not come out of the checkpoint.

    Args:
        folder: the checkpoint.
        average: evaluations use the moving average.
        restored: the state of the optimizers, and so the average, was restored.
    """
    return not average or (restored and "ema" in parts_of(tensors_in(folder)))


def parts_of(names: Mapping[str, Any]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def load_average(folder: Path, parameters: Mapping[str, Tensor], alone: bool = False) -> None:
    """Writes the moving averages of a checkpoint over dense parameters.

    Args:
        folder: the checkpoint.
        parameters: by name; those that have no average, as tables, stay.
        alone: without a process group, in one process.

    Raises:
        UserError: the checkpoint has no averages.
    """
    names = [name.removeprefix("ema.") for name in tensors_in(folder) if name.startswith("ema.")]
    if not names:
        raise UserError(
            f"{folder}: has no moving average, which use_dense_ema asks for; train with "
            "train_config.dense_optimizer.ema, or leave use_dense_ema out"
        )
    load(folder, {"ema": {name: parameters[name] for name in names if name in parameters}}, alone)


def dense_parameters(model: nn.Module) -> dict[str, Tensor]:
    """The parameters beside the tables of a sharded model, to write into."""
    return {name: value.detach() for name, value in in_backward_optimizer_filter(model.named_parameters())}


def take_over(train: Loader[Batch], facts: Facts) -> tuple[Position, str]:
    """Where a run goes on that begins from a checkpoint, and what is to be said of it.

    The pass under way goes on with the rows that are left of it, however they were divided
    before. In another table nothing says which rows those are: the pass begins anew.
    """
    here = replace(facts.position)
    table = train.table
    if facts.data.table != table.fingerprint:
        note = (
            f"; the training table has other row groups than the checkpoint's ({table.num_rows} rows, "
            f"{facts.data.rows} before): its pass begins with the first row"
        )
        return replace(here, epoch_step=0), note if here.epoch_step else ""
    train.resume(here.epoch, facts.data.legs)
    if here.epoch_step and here.epoch_step >= train.steps_in(here.epoch):
        here.epoch, here.epoch_step = here.epoch + 1, 0
    return here, ""
