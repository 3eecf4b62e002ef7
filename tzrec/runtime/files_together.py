"""Several files that change their names together, or not at all."""

import os
import shutil
from pathlib import Path

# In the folder of the new files: where they go. It is there while they change their names.
TARGET = "moving-to"
OLD = ".old"


def replace_together(written: Path, final: Path) -> None:
    """Moves every file of a folder into another one, in place of those of the same names.

    A failure puts back what stood there before; `roll_back` does so after a kill.

    Args:
        written: holds the new files, and nothing else.
        final: in the same file system.
    """
    names = sorted(os.listdir(written))
    for name in names:
        if (final / name).exists():
            _keep(final / name, written / (name + OLD))
    words = [str(final.absolute()), *names]
    (written / TARGET).write_bytes(b"\0".join(os.fsencode(word) for word in words))
    try:
        for name in names:
            os.replace(written / name, final / name)
    except BaseException:
        roll_back(written)
        raise
    shutil.rmtree(written)


def roll_back(written: Path) -> None:
    """Puts back what a move that was cut off in the middle has replaced; nothing after a whole one.

    Args:
        written: the folder of the new files.
    """
    try:
        target, *names = map(os.fsdecode, (written / TARGET).read_bytes().split(b"\0"))
    except OSError:
        return
    # Only where a writer puts things: who can write beside an output must not choose another place.
    if written.parent not in (Path(target), Path(target).parent) or any("/" in name for name in names):
        return
    moved = [name for name in names if not (written / name).exists()]
    if len(moved) == len(names):
        return
    for name in moved:
        if (written / (name + OLD)).exists():
            os.replace(written / (name + OLD), Path(target, name))
        else:
            Path(target, name).unlink(missing_ok=True)


def _keep(final: Path, old: Path) -> None:
    try:
        os.link(final, old)
    except OSError:  # A file system without hard links.
        shutil.copyfile(final, old)
