"""Folders and files that appear under their final names only when they are whole."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tzrec.runtime.errors import UserError


def local_folder(path: str, flag: str) -> Path:
    """The path of an output folder.

    Raises:
        UserError: a URL, or a place where something other than a folder stands.
    """
    if "://" in path:
        raise UserError(f"{flag}: {path} is a URL; give a folder of a file system that is mounted here")
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{flag}: {path} is a file; give a folder")
    parent = folder
    while not parent.exists():
        parent = parent.parent
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise UserError(f"{flag}: {parent} cannot be written into; give a folder that can")
    return folder


class StagedFolder:
    """A folder that is filled under a hidden name beside its own, then renamed.

    Args:
        path: as the user gives it.
        flag: what to call it in an error.

    Raises:
        UserError: it holds something already.
    """

    def __init__(self, path: str, flag: str) -> None:
        self.final = local_folder(path, flag)
        if self.final.is_dir() and any(self.final.iterdir()):
            raise UserError(f"{flag}: {path} holds something already; give a new folder or empty this one")
        self.staging = self.final
        self._made: list[Path] = []

    def name(self, token: str) -> None:
        """Settles the hidden name; every rank gives the same token, which no other run has."""
        self.staging = self.final.with_name(f".{self.final.name}.{token}")

    def begin(self) -> None:
        """Makes the hidden folder; one process does it for all, after `name`."""
        folder, missing = self.staging, []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        self.staging.mkdir(parents=True)
        self._made = missing

    def publish(self) -> None:
        """Gives the folder its name; one process does it when all have written."""
        os.replace(self.staging, self.final)
        self._made = []

    def discard(self) -> None:
        """Removes what `begin` made, if it is still there; for the process that called it."""
        if self._made:
            shutil.rmtree(self.staging, ignore_errors=True)
            for folder in self._made[1:]:
                if not any(folder.iterdir()):
                    folder.rmdir()
            self._made = []


def apart(folders: Sequence[StagedFolder]) -> None:
    """Refuses outputs of which one is, or lies within, another.

    Raises:
        UserError: two that overlap.
    """
    for one in folders:
        for other in folders:
            if one is not other and other.final.is_relative_to(one.final):
                raise UserError(f"{other.final} is or lies within {one.final}; give two folders apart")


def replace_together(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Renames each first path to the second one; if one fails, those before it are undone.

    Args:
        pairs: (written, final), both in one file system.
    """
    undo: list[tuple[Path, Path | None]] = []
    try:
        for written, final in pairs:
            old = None
            if final.exists():
                old = written.with_name(written.name + ".old")
                os.link(final, old)
            undo.append((final, old))
            os.replace(written, final)
    except BaseException:
        for final, old in reversed(undo):
            if old is not None:
                os.replace(old, final)
            else:
                final.unlink(missing_ok=True)
        raise
    for _, old in undo:
        if old is not None:
            old.unlink()
