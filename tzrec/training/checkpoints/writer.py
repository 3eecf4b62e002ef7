"""Writes the tensors of a checkpoint; what the disk refuses is said in words.

torch's zip writer loses the error of a failed write and says `unexpected pos 704 vs 598` instead.
"""

import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystem


class _File(io.FileIO):
    """A file that remembers the first write which failed."""

    refused: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            self.refused = self.refused or error
            raise


class _NamingFileSystem(FileSystem):
    """torch's local files; the error of a write is an OSError that names its file."""

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Generator[io.IOBase, None, None]:
        file = None
        try:
            file = _File(os.fspath(path), mode)
            with io.BufferedWriter(file) as stream:
                yield cast(io.IOBase, stream)
        except Exception as error:
            refused = file.refused if file is not None else None
            cause = refused or (error if isinstance(error, OSError) else None)
            if cause is None or not cause.errno:
                raise
            raise OSError(cause.errno, os.strerror(cause.errno), os.fspath(path)) from error


def write(tensors: dict[str, Any], folder: Path, group: Any) -> None:
    """Writes this rank's part of the tensors, and on the first rank `.metadata`. Collective.

    Args:
        tensors: state dictionaries, sharded.
        folder: of the checkpoint; it is made.
        group: the processes that write.

    Raises:
        CheckpointException: what failed on which rank; `reader.first_cause` finds an OSError in it
            that names the file which could not be written.
    """
    storage = dcp.FileSystemWriter(folder)
    storage.fs = _NamingFileSystem()
    dcp.save(tensors, storage_writer=storage, process_group=group)
