"""Folders in TMPDIR that go when their process does, or when the next command finds them dead."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tzrec.runtime.lock import Lock

PREFIX = "tzrec-scratch-"
_LOCK = "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for this process alone, locked while it lives and removed at the end.

    It holds a file `lock`; other names are free.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = Lock(folder / _LOCK)
        # Between the two, another command may have taken the folder for one of a dead process.
        with contextlib.suppress(FileNotFoundError):
            if lock.acquire():
                break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def remove_dead_scratch() -> None:
    """Removes the folders of this user whose process has ended without doing so."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and _is_ours(entry):
                _remove_if_dead(Path(entry.path))


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """In a folder for all users, others could leave one in which the lock is a link to a file of ours."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _remove_if_dead(folder: Path) -> None:
    lock = Lock(folder / _LOCK)
    # Gone meanwhile, or a file system that cannot lock: that proves nothing.
    with contextlib.suppress(OSError):
        if lock.acquire() and lock.exclusive:
            shutil.rmtree(folder, ignore_errors=True)
    lock.release()
