"""Of the processes of one launch on one host, the first that fails reports; a file says that it has."""

import contextlib
import os
import re
import socket
import tempfile
import time
import zlib
from pathlib import Path

from tzrec.runtime.world import error_file, launch_identity, process_start


def first_to_report() -> bool:
    """True in the first process of this launch on this host that asks; the others keep silent."""
    # As it stands, for what is reported may be that the environment contradicts itself.
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    try:
        os.close(os.open(_mark(), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:
        pass  # No room for the mark: rather say it twice than not at all.
    return True


def remove_dead_marks() -> None:
    """Removes the marks of launches on this host that have ended."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            match = re.fullmatch(rf"{re.escape(_prefix())}(\d+)-(\d+)-\d+-\d*", entry.name)
            if match is None:
                continue
            with contextlib.suppress(OSError):
                # Ranks that are started by hand have a parent, a shell, that outlives their launch: to
                # them, a mark from before their own start is of a launch before.
                before = (
                    entry.path == _mark()
                    and error_file() is None
                    and entry.stat(follow_symlinks=False).st_mtime < _own_start()
                )
                if before or process_start(int(match[1])) != match[2]:
                    os.unlink(entry.path)


def _prefix() -> str:
    # Of the host too: the temporary folder may be shared by containers, each with its own processes.
    return f"tzrec-failed-{os.getuid()}-{zlib.crc32(socket.gethostname().encode()):08x}-"


def _mark() -> str:
    return str(Path(tempfile.gettempdir()) / (_prefix() + launch_identity()))


def _own_start() -> float:
    """When this process was started, in seconds as time.time() counts; 0 where it is not known."""
    started = process_start(os.getpid())
    if not started:
        return 0.0
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(started) / os.sysconf("SC_CLK_TCK")
    return time.time() - age
