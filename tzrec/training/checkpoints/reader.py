"""Reads the tensors of a checkpoint, of any number of processes and any sharding.

Nothing in a checkpoint is trusted to be code: what tensors there are says `metadata.read_metadata`,
and the tensors are read by torch.load(weights_only=True). Objects that are not tensors, which
torch.distributed.checkpoint would unpickle, no checkpoint of ours holds; they are refused.
"""

import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint._nested_dict import flatten_state_dict
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.utils import _create_file_view
from torch.futures import Future

from tzrec.runtime.errors import UserError
from tzrec.training.checkpoints.archive import check_archive
from tzrec.training.checkpoints.checks import damage
from tzrec.training.checkpoints.facts import UnreadableError
from tzrec.training.checkpoints.metadata import read_metadata

# What the names of the state of optimizers begin with in a checkpoint.
OPTIMIZER = "optimizer.state."


class TensorReader(dcp.FileSystemReader):
    """Gives torch.distributed.checkpoint the tensors of a folder, and unpickles nothing.

    Args:
        checkpoint: the folder.
        metadata: what it holds.
    """

    def __init__(self, checkpoint: Path, metadata: Metadata) -> None:
        super().__init__(checkpoint)
        self.checkpoint, self.metadata = checkpoint, metadata

    # Without the keyword arguments of the class above: by these torch would look for other files.
    def read_metadata(self) -> Metadata:  # type: ignore[override]
        return self.metadata

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        wanted: dict[str, list[ReadItem]] = defaultdict(list)
        for item in plan.items:
            wanted[self.storage_data[item.storage_index].relative_path].append(item)
        for name, items in wanted.items():
            path = self.checkpoint / name
            try:
                with path.open("rb") as stream:
                    for item in items:
                        self._read(path, stream, item, planner)
            except FileNotFoundError:
                raise UnreadableError(path, "is missing") from None
            except IsADirectoryError:
                raise UnreadableError(path, "is a folder") from None
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _read(self, path: Path, stream: Any, item: ReadItem, planner: LoadPlanner) -> None:
        place = self.storage_data[item.storage_index]
        try:
            check_archive(stream, place.offset, place.length)
            view: Any = _create_file_view(stream, place.offset, place.length)
            tensor = torch.load(view, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception:
            # A damaged archive fails in as many ways as it has parts.
            tensor = None
        told = self.metadata.state_dict_metadata[item.storage_index.fqn]
        if (
            item.type != LoadItemType.TENSOR
            or not isinstance(tensor, torch.Tensor)
            or tensor.device.type != "cpu"
            or not isinstance(told, TensorStorageMetadata)
        ):
            raise UnreadableError(path, f"is damaged: it does not hold {item.storage_index.fqn} as a tensor")
        target = planner.resolve_tensor(item).detach()
        try:
            tensor = narrow_tensor_by_index(tensor, item.storage_offsets, item.lengths)
        except (RuntimeError, IndexError):
            tensor = tensor[:0]
        if tensor.dtype != told.properties.dtype or tensor.size() != target.size():
            raise UnreadableError(
                path, f"is damaged: {item.storage_index.fqn} is not what .metadata says of it"
            )
        target.copy_(tensor)
        planner.commit_tensor(item, target)


def tensors_in(checkpoint: Path) -> Mapping[str, Any]:
    """What a checkpoint holds, by name, without the numbers; each has a `size`.

    Raises:
        DamagedError: `.metadata` cannot be read.
    """
    return _metadata(checkpoint).state_dict_metadata


def load(checkpoint: Path, tensors: dict[str, Any], alone: bool = False) -> None:
    """Reads a checkpoint into `tensors`, in place; of any world size and sharding.

    Whether its files are whole is a question for `checks.check_files`, once, before it is loaded.

    Args:
        checkpoint: its folder.
        tensors: state dictionaries of the model as it is sharded now.
        alone: without a process group, in one process.

    Raises:
        UserError: tensors of other names or shapes than the checkpoint holds.
        DamagedError: a file that cannot be read.
    """
    reader = TensorReader(checkpoint, _metadata(checkpoint))
    try:
        if alone:
            # It warns that there is no process group, which is what `alone` asks for.
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        dcp.load(tensors, storage_reader=reader, no_dist=alone)
    except (
        UnreadableError,
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        CheckpointException,
    ) as error:
        cause = first_cause(error)
        if isinstance(cause, UnreadableError):
            raise damage(checkpoint, cause) from None
        if isinstance(cause, OSError):
            raise cause from None
        absent = sorted(flatten_state_dict(tensors)[0].keys() - reader.metadata.state_dict_metadata.keys())
        if absent and all(name.startswith(OPTIMIZER) for name in absent):
            raise UserError(
                f"{checkpoint}: has another state of the optimizers than those of this configuration keep "
                f"(no {absent[0].removeprefix(OPTIMIZER)}); train with the configuration and the version it "
                "was made with, or add --ignore_restore_optimizer, which begins their state anew"
            ) from error
        reason = (str(cause) or type(cause).__name__).splitlines()[0][:200]
        raise UserError(
            f"{checkpoint}: does not fit the model of this configuration ({reason}); "
            "train with the configuration it was made with, or without --continue_train into a new model_dir"
        ) from error


def first_cause(error: BaseException) -> BaseException:
    """The error of the rank that failed, out of what torch.distributed.checkpoint wraps it in."""
    while isinstance(error, CheckpointException) and error.failures:
        failure = next(iter(error.failures.values()))
        error = failure[0] if isinstance(failure, tuple) else failure
    return error


def _metadata(checkpoint: Path) -> Metadata:
    try:
        metadata = read_metadata(checkpoint)
        _check_sizes(checkpoint, metadata)
    except UnreadableError as error:
        raise damage(checkpoint, error) from None
    return metadata


def _check_sizes(checkpoint: Path, metadata: Metadata) -> None:
    """Whether the files reach as far as their tensors, also those that nobody asks for now."""
    ends: dict[str, int] = defaultdict(int)
    for place in metadata.storage_data.values():
        ends[place.relative_path] = max(ends[place.relative_path], place.offset + place.length)
    for name, end in ends.items():
        path = checkpoint / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise UnreadableError(path, "is missing")
        if size < end:
            raise UnreadableError(
                path, "is empty" if not size else f"is cut: {size} of {end} bytes are there"
            )
