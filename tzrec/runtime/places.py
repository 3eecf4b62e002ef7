"""Checks of the paths that outputs go to, before any work is done."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tzrec.runtime.errors import UserError

# Bytes; Linux, all usual file systems.
LONGEST_NAME, LONGEST_PATH = 255, 4000


def local_folder(path: str, flag: str) -> Path:
    """The path of an output folder, which need not be there.

    Raises:
        UserError: an empty path, a URL, the root, a name that is too long, a file or a broken link
            on the path, a place that cannot be written into.
    """
    folder = _usable(path, flag, "folder")
    if folder.is_dir():
        _refuse_unwritable(folder, flag)
    elif os.path.lexists(folder):
        kind = "a link that leads nowhere" if folder.is_symlink() else "a file"
        raise UserError(f"{flag}: {path} is {kind}; give a folder")
    return folder


def new_folder(path: str, flag: str) -> Path:
    """The path of an output folder that is not there yet, or is empty.

    Raises:
        UserError: as `local_folder`; a folder that holds something.
    """
    folder = local_folder(path, flag)
    if folder.is_dir() and not is_empty(folder):
        raise UserError(f"{flag}: {path} already holds something; give another folder or remove it")
    return folder


def new_file(path: str, flag: str) -> Path:
    """The path of an output file that is not there yet.

    Raises:
        UserError: as `local_folder` of its folder; a file or folder that is there.
    """
    file = _usable(path, flag, "file")
    if path.endswith("/") or file.is_dir():
        raise UserError(f"{flag}: {path} is a folder; give a file that does not exist yet")
    if os.path.lexists(file):
        raise UserError(f"{flag}: {path} is there already; give a file that does not exist yet")
    return file


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what writers have of their own in it."""
    return all(is_own(name) for name in os.listdir(folder))


def is_own(name: str) -> bool:
    """Whether a file is a lock or an unfinished output."""
    return name.startswith(".") and (name.endswith(LOCK) or UNFINISHED in name)


# Of the names beside an output NAME: .NAME.tzrec-lock and .NAME.unfinished-1f2e3d4c.
LOCK, UNFINISHED = ".tzrec-lock", ".unfinished-"


class Placed(Protocol):
    """An output: its flag and its final path."""

    flag: str
    final: Path


def refuse_overlap(outputs: Sequence[Placed]) -> None:
    """Refuses outputs of which one is, or lies within, another.

    Raises:
        UserError: two that overlap.
    """
    real = [Path(os.path.realpath(output.final)) for output in outputs]
    for one, outer in zip(outputs, real, strict=True):
        for other, inner in zip(outputs, real, strict=True):
            if one is not other and inner.is_relative_to(outer):
                raise UserError(
                    f"{other.flag}: {other.final} is or lies within {one.final} of {one.flag}; "
                    "give each output a place of its own"
                )


def _usable(path: str, flag: str, kind: str) -> Path:
    if not path.strip():
        raise UserError(f"{flag}: the path is empty; give a {kind}")
    if "://" in path:
        raise UserError(
            f"{flag}: {path} is a URL; output is written to local paths only: give a {kind} of a file "
            "system that is mounted here"
        )
    found = Path(os.path.abspath(path))
    if found == Path(found.anchor):
        raise UserError(f"{flag}: {path} is the root of the file system; give a {kind} within it")
    name = max(found.parts, key=lambda part: len(os.fsencode(part)))
    if len(os.fsencode(name)) > LONGEST_NAME or len(os.fsencode(found)) > LONGEST_PATH:
        raise UserError(
            f"{flag}: {path[:40]}... is too long ({len(os.fsencode(name))} bytes in one name, "
            f"{len(os.fsencode(found))} in all); {LONGEST_NAME} and {LONGEST_PATH} are allowed, give a "
            "shorter one"
        )
    parent = found.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        kind = "a link that leads nowhere" if parent.is_symlink() else "a file"
        raise UserError(f"{flag}: {parent}, on the way to {path}, is {kind}; give a path of folders")
    if not found.is_dir():
        _refuse_unwritable(parent, flag)
    return found


def _refuse_unwritable(folder: Path, flag: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{flag}: {folder} cannot be written into; give a folder that can")
