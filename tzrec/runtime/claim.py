"""One writer at a time: where it works, its lock, and what writers that were killed have left."""

import contextlib
import os
import re
import shutil
import time
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


def work_place(final: Path) -> tuple[Path, str]:
    """Where a writer works, and the name it works under there: beside the output if possible."""
    name = final.name
    if len(os.fsencode(name)) > 200:
        # Room for what is added to the name.
        name = f"{name[:40]}-{zlib.crc32(os.fsencode(name)):08x}"
    if final.is_dir():
        current = False
        with contextlib.suppress(OSError):
            current = final.samefile(os.curdir)
        if current or os.path.ismount(final) or not os.access(final.parent, os.W_OK | os.X_OK):
            return final, name
    return final.parent, name


def lock_path(parent: Path, name: str) -> Path:
    """The lock of what `work_place` gave."""
    return parent / f".{name}{LOCK}"


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
    lock = Lock(lock_path(*work_place(real)))
    try:
        with writing(f"{flag}: {path}"):
            lock.path.parent.mkdir(parents=True, exist_ok=True)
            claim(lock, flag, path)
            real.mkdir(exist_ok=True)
        yield Path(path)
    finally:
        lock.release()


def remove_dead(final: Path) -> None:
    """Removes what killed writers have left unfinished in the folder where `final` would be written."""
    try:
        parent, _ = work_place(final)
        outputs = {_output(name) for name in os.listdir(parent)} - {""}
    except OSError:
        return  # Not there, or not readable: then nothing can be removed either.
    for output in outputs:
        lock, dead = Lock(lock_path(parent, output)), list[Path]()
        # A file system that cannot lock proves nothing; one that cannot be written lets nobody tidy.
        with contextlib.suppress(OSError):
            if lock.acquire() and lock.exclusive:
                # Listed while the lock is held: a living writer makes its own after it has the lock.
                dead = [path for path in parent.glob(f"*{UNFINISHED}*") if _output(path.name) == output]
                for path in dead:
                    roll_back(path)
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
