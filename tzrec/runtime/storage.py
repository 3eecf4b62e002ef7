"""What a file system refuses, in one line: full, over quota, read-only, a name too long."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tzrec.runtime.errors import UserError

# What the file system refuses, and the next step.
NEXT_STEP = {
    errno.ENOSPC: "make room and start again",
    errno.EDQUOT: "make room within the quota and start again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and start again",
    errno.EROFS: "give a place that can be written",
    errno.EACCES: "give a place that this user may read and write",
    errno.EPERM: "give a place that this user may read and write",
    errno.EIO: "look at the disk or the network file system, then start again",
    errno.ESTALE: "look at the network file system, then start again",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOTDIR: "give a path on which every folder is a folder",
    errno.EISDIR: "give a path at which there is no folder",
    errno.ELOOP: "give a path without a circle of links",
}


def refusal(error: BaseException) -> int | None:
    """The errno by which a file system refused, or None for an error of another kind.

    Arrow, faiss and numpy raise errors of their own for a failed write; some hold the errno in
    their text only.
    """
    if isinstance(error, OSError) and error.errno:
        return error.errno if error.errno in NEXT_STEP else None
    text = str(error)
    if number := re.search(r"\[errno (\d+)\]", text, re.IGNORECASE):
        return int(number[1]) if int(number[1]) in NEXT_STEP else None
    if isinstance(error, OSError | RuntimeError):
        return next((number for number in NEXT_STEP if f"({os.strerror(number)})" in text), None)
    return None


def describe(error: BaseException) -> str:
    """One line for an error that `refusal` knows."""
    number = refusal(error) or 0
    name = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{name}{os.strerror(number)}; {NEXT_STEP[number]}"


# These can only be said of a write; the others may be of an input that is read beside it.
_OF_WRITES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextmanager
def writing(where: str, path: Path | None = None) -> Iterator[None]:
    """Raises what the file system refuses inside as one line that begins with `where`.

    Args:
        where: the flag and the path that the user gave, such as "--export_dir: out".
        path: what is written; an error that names a file elsewhere stays as it is.

    Raises:
        UserError: a refused write.
    """
    try:
        yield
    except Exception as error:
        number = None if isinstance(error, UserError) else refusal(error)
        if number is None or (number not in _OF_WRITES and path and _is_elsewhere(error, path)):
            raise
        raise UserError(f"{where}: cannot be written ({os.strerror(number)}); {NEXT_STEP[number]}") from error


def _is_elsewhere(error: Exception, path: Path) -> bool:
    name = error.filename if isinstance(error, OSError) else None
    return isinstance(name, str) and not Path(name).is_relative_to(path)
