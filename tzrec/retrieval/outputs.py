"""Where results go: places that can be written, and files that change their names together."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tzrec.datasets.staging import StagedFolder
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


def new_file(path: str, flag: str) -> Path:
    """The path of an output file that is not there yet.

    Raises:
        UserError: a URL, a folder, a file that is there, or a place that cannot be written into.
    """
    file = Path(path).absolute()
    if "://" not in path and file.exists():
        raise UserError(f"{flag}: {path} is there already; give a file that does not exist yet")
    local_folder(path if "://" in path else str(file.parent), flag)
    return file


def apart(folders: Sequence[StagedFolder]) -> None:
    """Refuses outputs of which one is, or lies within, another.

    Raises:
        UserError: two that overlap.
    """
    for one in folders:
        for other in folders:
            if one is not other and other.final.absolute().is_relative_to(one.final.absolute()):
                raise UserError(f"{other.flag}: {other.final} is or lies within {one.final} of {one.flag}")


def _keep(final: Path, old: Path) -> None:
    try:
        os.link(final, old)
    except OSError:  # A file system without hard links.
        shutil.copyfile(final, old)


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
                _keep(final, old)
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
