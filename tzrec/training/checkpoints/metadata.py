"""Reads `.metadata` of a checkpoint without running code that it may name.

torch.distributed.checkpoint writes it by pickle, and a pickle can call any function of any module.
Here it may name the twelve classes that a checkpoint of tensors holds and nothing else, and what
stands for them while it is read has no effect (`plain_pickle`). What comes out is checked and then
built anew: a tensor is covered by its parts, each of which has a place in a file.
"""

import math
import re
from collections.abc import Mapping
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
from tzrec.training.checkpoints.facts import UnreadableError, read_file
from tzrec.training.checkpoints.plain_pickle import PlainUnpickler, RefusedError

# The only names of files with tensors: none leads out of the folder.
TENSORS = re.compile(r"__\d+_\d+\.distcp")

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}

VALUES = {("torch", name): dtype for name, dtype in DTYPES.items()}

# Dimensions of a tensor: those of a model have two at most.
DIMENSIONS = 8

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


def read_metadata(checkpoint: Path, content: bytes | None = None) -> Metadata:
    """What tensors a checkpoint holds and where in its files they lie.

    Args:
        checkpoint: its folder.
        content: of `.metadata`, where it was read already.

    Raises:
        UnreadableError: the file is missing, damaged, or holds what no checkpoint of tensors holds.
    """
    path = checkpoint / METADATA
    content = read_file(path) if content is None else content
    if not content:
        raise UnreadableError(path, "is empty")
    try:
        return _metadata(PlainUnpickler(content, CLASSES, VALUES).load())
    except RefusedError as error:
        raise UnreadableError(
            path, f"is refused: it names {error}, which no checkpoint holds and which may run code"
        ) from None
    except Exception:
        # A damaged pickle fails in as many ways as it has instructions.
        raise UnreadableError(path, "is damaged: it does not describe the tensors of a checkpoint") from None


def _metadata(held: Any) -> Metadata:
    state = _state(held, "Metadata")
    places = {_index(index): _place(place) for index, place in state["storage_data"].items()}
    # Parts that many tensors share would be built once for each: no more than there are places.
    tensors = state["state_dict_metadata"]
    _require(
        sum(len(_state(held, "TensorStorageMetadata")["chunks"]) for held in tensors.values()) <= len(places)
    )
    found = {_text(name): _tensor(tensor) for name, tensor in tensors.items()}
    for name, tensor in found.items():
        _check_parts(name, tensor, places)
    version = state.get("version")
    return Metadata(
        state_dict_metadata=dict(found),
        storage_data=places,
        storage_meta=StorageMeta(),
        version=None if version is None else _text(version),
    )


def _check_parts(name: str, tensor: TensorStorageMetadata, places: Mapping[MetadataIndex, Any]) -> None:
    """A part that is not there would leave what the model began with, in silence."""
    parts = [chunk for chunk in tensor.chunks if math.prod(chunk.sizes)]
    _require(len({chunk.offsets for chunk in parts}) == len(parts))
    _require(sum(math.prod(chunk.sizes) for chunk in parts) == math.prod(tensor.size))
    for chunk in parts:
        _require(len(chunk.offsets) == len(chunk.sizes) == len(tensor.size))
        ends = (start + size for start, size in zip(chunk.offsets, chunk.sizes, strict=True))
        _require(all(end <= size for end, size in zip(ends, tensor.size, strict=True)))
        _require(MetadataIndex(name, chunk.offsets) in places)


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
    _require(len(numbers) <= DIMENSIONS)
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
