"""Advisory locks: who works on a folder, so that no second process does. Released by death.

A lock is a small file that its holder keeps locked with flock(2) and that says who the holder is.
Where the file system cannot lock (some network mounts), nothing is refused: callers must not
destroy what they do not own on the strength of a lock that is not `exclusive`.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tzrec.runtime.errors import UserError
from tzrec.runtime.world import patience

# Seconds between two looks at a lock that another process holds.
POLL = 0.1
# Seconds after which a wait is announced.
ANNOUNCE = 2.0

UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Lock:
    """An advisory lock on a file.

    Args:
        path: the lock file, in a folder that exists; it is made when it is not there and removed at
            release.

    Attributes:
        exclusive: whether this process is known to be the only holder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exclusive = False
        self._file: int | None = None

    def acquire(self) -> bool:
        """Takes the lock if it is free; says whether this process may go on.

        Raises:
            OSError: the lock file cannot be made.
        """
        while True:
            # No link: where others may write, it could lead to a file of this user, which is emptied.
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(file)
                if error.errno in UNSUPPORTED:
                    return True
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    return False
                raise
            # The holder before may have removed the file between the two calls: then this lock is on
            # a file that nobody else can find.
            if not self._is_current(file):
                os.close(file)
                continue
            self._file, self.exclusive = file, True
            # A full disk must not keep anybody from the lock; then it has no name on it.
            with contextlib.suppress(OSError):
                os.ftruncate(file, 0)
                os.write(file, json.dumps(_myself()).encode())
            return True

    def release(self) -> None:
        """Gives the lock back and removes its file; nothing where this process does not hold it."""
        if self._file is None:
            return
        # Somebody may have removed it, and another holder made a new one.
        with contextlib.suppress(OSError):
            if self._is_current(self._file):
                os.unlink(self.path)
        os.close(self._file)
        self._file, self.exclusive = None, False

    def holder(self) -> str:
        """Who holds it, such as `process 123 on host-a (tzrec.predict, since 2026-01-31 12:00:00)`."""
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            return f"process {held['pid']} on {held['host']} ({held['command']}, since {held['since']})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False


def _myself() -> dict[str, object]:
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": module.name.removesuffix(".__main__") if module else Path(sys.argv[0]).name,
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


@contextmanager
def waiting_for(
    path: Path, what: str, announce: Callable[[str], object] = lambda line: None
) -> Iterator[Lock]:
    """Holds a lock, waiting for its holder at most TZREC_PATIENCE seconds.

    Args:
        path: the lock file.
        what: what the holder is doing, for the lines, such as "builds the item pool".
        announce: is called once with a line when the wait becomes long.

    Raises:
        UserError: the holder has not finished in time.
    """
    lock = Lock(path)
    began, announced = time.monotonic(), False
    while not lock.acquire():
        waited = time.monotonic() - began
        if waited > patience():
            raise UserError(
                f"{path}: {lock.holder()} {what} and has not finished within {patience():g} s "
                "(TZREC_PATIENCE); look at that process, or end it and start again"
            )
        if waited > ANNOUNCE and not announced:
            announce(f"waiting for {lock.holder()}, which {what} (at most {patience():g} s, TZREC_PATIENCE)")
            announced = True
        time.sleep(POLL)
    try:
        yield lock
    finally:
        lock.release()
