"""One writer at a time: where it works, its lock, and what writers that were killed have left."""

import contextlib
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tzrec.runtime import places
from tzrec.runtime.errors import UserError
from tzrec.runtime.files_together import roll_back
from tzrec.runtime.lock import Lock
from tzrec.runtime.places import LOCK, UNFINISHED
from tzrec.runtime.storage import writing

# Seconds a lock may be held by somebody who only looks whether its writer is dead.
GLANCE = 1.0

_OWN = re.compile(rf"\.(.+?)(?:{re.escape(LOCK)}|{re.escape(UNFINISHED)}[0-9a-f]{{8}})")


def lock_path(final: Path) -> Path:
    """The lock of an output, the same for every process that writes it, wherever that was started."""
    return _lock_folder(final) / f".{_short(final)}{LOCK}"


def new_work_path(final: Path) -> Path:
    """Where to write an output until it gets its name: beside it, or in it if it is to be filled.

    The current folder is filled: after a rename, who stands in it would be in a folder without a name.
    """
    folder = _lock_folder(final)
    with contextlib.suppress(OSError):
        if final.is_dir() and final.samefile(os.curdir):
            folder = final
    return folder / f".{_short(final)}{UNFINISHED}{uuid.uuid4().hex[:8]}"


def _lock_folder(final: Path) -> Path:
    filled = os.path.isdir(final) and (
        os.path.ismount(final) or not os.access(final.parent, os.W_OK | os.X_OK)
    )
    return final if filled else final.parent


def _short(final: Path) -> str:
    name = final.name
    if len(os.fsencode(name)) > 200:
        # Room for what is added to the name.
        name = f"{name[:40]}-{zlib.crc32(os.fsencode(name)):08x}"
    return name


def claim(lock: Lock, flag: str, output: object) -> None:
    """Takes a lock, or says who has it.

    Raises:
        UserError: somebody else is at work.
    """
    end = time.monotonic() + GLANCE
    while not lock.acquire():
        if time.monotonic() > end:
            raise UserError(
                f"{flag}: {output} is being written by {lock.holder()}; wait for it, or give another path"
            )
        time.sleep(0.02)


@contextmanager
def only_writer(path: str, flag: str) -> Iterator[Path]:
    """Holds a folder that is written in place, so that no second writer does; it is made.

    Args:
        path: of the folder, which may hold something.
        flag: what to call it in an error.

    Raises:
        UserError: a path that cannot be written, or another writer that is at work.
    """
    real = Path(os.path.realpath(places.local_folder(path, flag)))
    lock = Lock(lock_path(real))
    try:
        with writing(f"{flag}: {path}"):
            lock.path.parent.mkdir(parents=True, exist_ok=True)
            claim(lock, flag, path)
            real.mkdir(exist_ok=True)
        yield Path(path)
    finally:
        lock.release()


def remove_dead(final: Path) -> None:
    """Removes what killed writers have left unfinished beside `final` and in it."""
    for folder in {_lock_folder(final), final}:
        # Not there, or not readable: then nothing can be removed either.
        with contextlib.suppress(OSError):
            for output in {_output(name) for name in os.listdir(folder)} - {""}:
                _remove_dead(folder, output)


def _remove_dead(folder: Path, output: str) -> None:
    paths = {folder / f".{output}{LOCK}"}
    if output == _short(folder):
        # Of a writer for whom this folder itself is the output, and is filled.
        paths |= {lock_path(folder)}
    locks = [Lock(path) for path in paths]
    dead: list[Path] = []
    # A file system that cannot lock proves nothing; one that cannot be written lets nobody tidy.
    with contextlib.suppress(OSError):
        if all(lock.acquire() and lock.exclusive for lock in locks):
            # Listed while the lock is held: a living writer makes its own after it has the lock.
            dead = [path for path in folder.glob(f"*{UNFINISHED}*") if _output(path.name) == output]
            for path in dead:
                roll_back(path)
    for lock in locks:
        lock.release()
    for path in dead:
        remove(path)


def _output(name: str) -> str:
    """The output that a lock or an unfinished file is of; "" for any other file."""
    match = _OWN.fullmatch(name)
    return match[1] if match else ""


def remove(path: Path) -> None:
    """Removes a file or a folder, as far as that can be done."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
