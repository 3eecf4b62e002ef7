"""Paths as a user writes them: a file, a folder, a glob, several by commas, any fsspec URL."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec

from tzrec.datasets.remote import ask, first_answer, is_missing, open_bounded, unreachable
from tzrec.runtime.errors import UserError, one_line, without_secrets

# Size in bytes, time of last change in nanoseconds, number of the file; () where nobody can say.
Version = tuple[int, ...]


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
        return _is_local(self.fs)

    def open(self) -> BinaryIO:
        """The file, to be read as bytes.

        Raises:
            OSError: it cannot be opened.
            UserError: its server does not answer.
        """
        if self.is_local:
            return self.fs.open(self.path, "rb")
        return open_bounded(str(self), lambda: self.fs.open(self.path, "rb"))

    def stamp(self) -> tuple[str, int, str]:
        """(path, size in bytes, time of last change): another stamp, another content."""
        info = _asked(str(self), self.fs, lambda: self.fs.info(self.path))
        changed = info.get("mtime") or info.get("LastModified") or info.get("created") or ""
        return self.path, int(info.get("size") or 0), str(changed)

    def version(self) -> Version:
        """Another one, another file or another content. Of a remote file nothing is known, which is ().

        Raises:
            FileNotFoundError: it is not there.
        """
        if not self.is_local:
            return ()
        there = os.stat(self.path)
        return there.st_size, there.st_mtime_ns, there.st_ino

    def __str__(self) -> str:
        return self.path if self.is_local else without_secrets(self.fs.unstrip_protocol(self.path))


def changed(file: DataFile, reason: str) -> UserError:
    """The error for a file that is no more what it was when its table was opened."""
    return UserError(
        f"{file}: has changed since the run began: {reason}; "
        "leave the files of a table as they are while they are read, and start again"
    )


def _is_local(fs: Any) -> bool:
    protocol = fs.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def _file_system(url: str) -> tuple[Any, str]:
    def opening() -> tuple[Any, str]:
        return fsspec.core.url_to_fs(url)

    if "://" not in url and "::" not in url:
        return opening()
    try:
        return ask(url, opening, first_answer())
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            without_secrets(f"{url}: {one_line(error)}; install that (pip install), or give local files")
        ) from None
    except Exception as error:
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            raise UserError(
                without_secrets(f"{url}: {one_line(error)}; give a local path or a URL that fsspec knows")
            ) from None
        raise unreachable(url, error) from None


def _asked(where: str, fs: Any, call: Any, seconds: float | None = None) -> Any:
    """What a file system answers, in bounded time where it is another machine's."""
    if _is_local(fs):
        return call()
    try:
        return ask(where, call, seconds)
    except UserError:
        raise
    except Exception as error:
        if is_missing(error):
            raise FileNotFoundError(where) from None
        raise unreachable(where, error) from None


def _kind(where: str, fs: Any, path: str) -> str:
    """What a path is: "file", "directory" or, where nothing is called so, ""."""
    if _is_local(fs):
        return "file" if fs.isfile(path) else "directory" if fs.isdir(path) else ""
    try:
        return str(_asked(where, fs, lambda: fs.info(path), first_answer())["type"])
    except FileNotFoundError:
        return ""


def _list(where: str, fs: Any, pattern: str) -> list[str]:
    """The files that a pattern matches, sorted."""

    def listing() -> list[str]:
        return sorted(name for name in fs.glob(pattern) if fs.isfile(name))

    try:
        return _asked(where, fs, listing)
    except FileNotFoundError:
        return []


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
        what = _kind(part, fs, path)
        if what == "file":
            found.append(DataFile(fs, path))
            continue
        folder = what == "directory"
        names = _list(part, fs, f"{path.rstrip('/')}/*" if folder else path)
        if folder:
            names = [name for name in names if name.rsplit("/", 1)[-1][:1] not in ("", ".", "_")]
            names = [name for name in names if not suffixes or name.endswith(tuple(suffixes))]
        if not names:
            kind = f" ({' or '.join(suffixes)})" if suffixes and folder else ""
            raise UserError(
                f"{flag}: {without_secrets(part)} matches no file{kind}; "
                "give a file, a folder or a glob that exists"
            )
        found += [DataFile(fs, name) for name in names]
    if not found:
        raise UserError(f"{flag}: no path is given; give a file, a folder or a glob")
    return found
