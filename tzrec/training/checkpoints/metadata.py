"""Reads `.metadata` of a checkpoint without running code that it may name.

torch.distributed.checkpoint writes it by pickle, and a pickle can call any function of any module.
Here it may name the twelve classes that a checkpoint of tensors holds and nothing else, and what
stands for them while it is read has no effect. What comes out is checked and then built anew.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

from tzrec.training.checkpoints.checks import METADATA
from tzrec.training.checkpoints.facts import UnreadableError

# The only names of files with tensors: none leads out of the folder.
TENSORS = re.compile(r"__\d+_\d+\.distcp")

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}

FORMAT = "torch.distributed.checkpoint.metadata"
CLASSES = {
    *((FORMAT, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((FORMAT, name) for name in ("TensorStorageMetadata", "ChunkStorageMetadata", "_MEM_FORMAT_ENCODING")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    # Where it was written. Python 3.13 moved the class.
    *((module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
}


class _RefusedError(Exception):
    """The file names something that a checkpoint has no use for."""


class _Reader(pickle.Unpickler):
    """Knows `CLASSES` and `DTYPES`; every reading has stand-ins of its own, which nothing outlives."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._stand_ins: dict[tuple[str, str], Any] = {key: _stand_in(key[1]) for key in CLASSES}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        try:
            return self._stand_ins[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}"[:100]) from None


def _stand_in(name: str) -> type:
    def keep_arguments(self: Any, *arguments: Any) -> None:
        self.arguments = arguments

    def keep_state(self: Any, state: Any) -> None:
        self.state = state

    return type(name, (), {"__init__": keep_arguments, "__setstate__": keep_state})


def read_metadata(checkpoint: Path, content: bytes | None = None) -> Metadata:
    """What tensors a checkpoint holds and where in its files they lie.

    Args:
        checkpoint: its folder.
        content: of `.metadata`, where it was read already.

    Raises:
        UnreadableError: the file is missing, damaged, or holds what no checkpoint of tensors holds.
    """
    path = checkpoint / METADATA
    try:
        content = path.read_bytes() if content is None else content
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableError(path, "is missing") from None
    except IsADirectoryError:
        raise UnreadableError(path, "is a folder") from None
    if not content:
        raise UnreadableError(path, "is empty")
    try:
        return _metadata(_Reader(content).load())
    except _RefusedError as error:
        raise UnreadableError(
            path, f"is refused: it names {error}, which no checkpoint holds and which may run code"
        ) from None
    except Exception:
        # A damaged pickle fails in as many ways as it has instructions.
        raise UnreadableError(path, "is damaged: it does not describe the tensors of a checkpoint") from None


def _metadata(held: Any) -> Metadata:
    state = _state(held, "Metadata")
    return Metadata(
        state_dict_metadata={
            _text(name): _tensor(tensor) for name, tensor in state["state_dict_metadata"].items()
        },
        storage_data={_index(index): _place(place) for index, place in state["storage_data"].items()},
        storage_meta=StorageMeta(),
        version=state.get("version"),
    )


def _state(held: Any, name: str) -> Any:
    _require(type(held).__name__ == name)
    return held.state


def _tensor(held: Any) -> TensorStorageMetadata:
    state = _state(held, "TensorStorageMetadata")
    properties = _state(state["properties"], "TensorProperties")
    _require(isinstance(properties[0], torch.dtype))
    chunks = [_state(chunk, "ChunkStorageMetadata") for chunk in state["chunks"]]
    return TensorStorageMetadata(
        TensorProperties(dtype=properties[0]),
        _size(state["size"]),
        [ChunkStorageMetadata(_size(chunk["offsets"]), _size(chunk["sizes"])) for chunk in chunks],
    )


def _index(held: Any) -> MetadataIndex:
    state = _state(held, "MetadataIndex")
    offset, index = state.get("offset"), state.get("index")
    return MetadataIndex(
        _text(state["fqn"]),
        None if offset is None else _size(offset),
        None if index is None else _count(index),
    )


def _place(held: Any) -> _StorageInfo:
    state = _state(held, "_StorageInfo")
    _require(TENSORS.fullmatch(_text(state["relative_path"])) is not None)
    _require(not state.get("transform_descriptors"))
    return _StorageInfo(state["relative_path"], _count(state["offset"]), _count(state["length"]))


def _size(held: Any) -> torch.Size:
    _require(type(held).__name__ == "Size")
    (numbers,) = held.arguments
    return torch.Size([_count(number) for number in numbers])


def _count(value: Any) -> int:
    _require(type(value) is int and 0 <= value < 1 << 62)
    return value


def _text(value: Any) -> str:
    _require(type(value) is str)
    return value


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError
