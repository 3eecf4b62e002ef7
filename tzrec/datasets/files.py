"""Paths as a user writes them: a file, a folder, a glob, several by commas, any fsspec URL."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec

from tzrec.runtime.errors import UserError


@dataclass(frozen=True)
class DataFile:
    """One file of a table.

    Attributes:
        fs: the fsspec file system that holds it.
        path: its path there, without the protocol.
    """

    fs: fsspec.AbstractFileSystem
    path: str

    @property
    def is_local(self) -> bool:
        protocol = self.fs.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def open(self) -> BinaryIO:
        """The file, to be read as bytes."""
        return self.fs.open(self.path, "rb")

    def stamp(self) -> tuple[str, int, str]:
        """(path, size in bytes, time of last change): another stamp, another content."""
        info = self.fs.info(self.path)
        changed = info.get("mtime") or info.get("LastModified") or info.get("created") or ""
        return self.path, int(info.get("size") or 0), str(changed)

    def __str__(self) -> str:
        return self.path if self.is_local else self.fs.unstrip_protocol(self.path)


def _file_system(url: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UserError(f"{url}: {error}") from None


def expand(paths: str, suffixes: Sequence[str] = (), flag: str = "path") -> list[DataFile]:
    """The files that `paths` names, in the order given, sorted within a folder or a glob.

    A shell passes `\\*` on as it stands when it is quoted, so a backslash before a glob
    character is dropped. Files whose names start with "." or "_" are not part of a folder.

    Args:
        paths: a file, a folder, a glob, or several joined by commas; local or any fsspec URL.
        suffixes: in a folder only files that end so, such as (".parquet",); all when empty.
        flag: what to call the path in an error.

    Raises:
        UserError: a part that names nothing.
    """
    found: list[DataFile] = []
    for part in (piece.strip() for piece in paths.split(",")):
        if not part:
            continue
        fs, path = _file_system(re.sub(r"\\([*?\[\]])", r"\1", part))
        if fs.isfile(path):
            found.append(DataFile(fs, path))
            continue
        pattern = f"{path.rstrip('/')}/*" if fs.isdir(path) else path
        names = sorted(name for name in fs.glob(pattern) if fs.isfile(name))
        if fs.isdir(path):
            names = [name for name in names if name.rsplit("/", 1)[-1][0] not in "._"]
            names = [name for name in names if not suffixes or name.endswith(tuple(suffixes))]
        if not names:
            kind = f" ({' or '.join(suffixes)})" if suffixes and fs.isdir(path) else ""
            raise UserError(
                f"{flag}: {part} matches no file{kind}; give a file, a folder or a glob that exists"
            )
        found += [DataFile(fs, name) for name in names]
    if not found:
        raise UserError(f"{flag}: no path is given; give a file, a folder or a glob")
    return found
