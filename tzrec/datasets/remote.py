"""Files that another machine keeps: every question to it ends, with an answer or with a line.

The libraries behind fsspec wait for minutes or for ever where a server accepts a connection and keeps
silent, each with limits of its own or none. So a question is asked in a thread that is left behind
when its time is over.
"""

import io
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from tzrec.runtime.errors import UserError, one_line, secrets_in, without_secrets
from tzrec.runtime.world import patience

T = TypeVar("T")

# Seconds for the first answer of a server.
FIRST_ANSWER = 20.0
# Characters of an error that are shown.
SHOWN = 200
# What HTTP says of a file that is not there.
NOT_THERE = (404, 410)
# Bytes of a file that are held for small reads.
HELD = 1 << 20


def first_answer() -> float:
    """Seconds that the first answer of a server may take: 20, or TZREC_PATIENCE where that is less."""
    return min(FIRST_ANSWER, patience())


def ask(where: str, call: Callable[[], T], seconds: float | None = None) -> T:
    """What `call` returns or raises; it has `seconds`, TZREC_PATIENCE by default.

    Args:
        where: the URL, for the line.
        call: asks another machine.
        seconds: how long it may take.

    Raises:
        UserError: no answer in time.
    """
    limit = patience() if seconds is None else seconds
    answer: list[Any] = []

    def asking() -> None:
        try:
            answer.append((True, call()))
        except BaseException as error:  # Raised where the answer is wanted.
            answer.append((False, error))

    # A daemon, so that it keeps no process from its end.
    thread = threading.Thread(target=asking, name="remote", daemon=True)
    thread.start()
    thread.join(limit)
    if not answer:
        raise UserError(
            f"{without_secrets(where)}: no answer within {limit:g} s; look at the address, the server and "
            "the network (a proxy, a firewall), then start again"
        )
    right, value = answer[0]
    if right:
        return value
    raise value


def unreachable(where: str, error: BaseException) -> UserError:
    """The error for a URL that gives an error instead of an answer."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    reason = " ".join(str(root).split()) or type(root).__name__
    # An error may quote a part of the URL that does not look like one any more.
    for secret in secrets_in(where):
        reason = reason.replace(secret, "...")
    return UserError(
        f"{without_secrets(where)}: cannot be read ({without_secrets(reason)[:SHOWN]}); look at the address, "
        "the credentials and the server, then start again"
    )


def is_missing(error: BaseException) -> bool:
    """Whether an error says that there is no such file, and not that nobody could be asked.

    fsspec calls a server that refuses the connection, or answers with garbage, a file not found.
    """
    if not isinstance(error, FileNotFoundError):
        return False
    cause = error.__cause__
    answer = getattr(cause, "response", None)  # Of botocore's errors.
    if isinstance(answer, dict):
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in NOT_THERE
    return cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) in NOT_THERE


class _Bounded(io.RawIOBase):
    """A file of another machine whose reads end."""

    def __init__(self, where: str, file: BinaryIO) -> None:
        self.where, self.file = where, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._ask(lambda: self.file.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._ask(lambda: self.file.seek(offset, whence))

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.file.close()

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return ask(self.where, call)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            # Of whatever kind the library has: what reads the file knows those of files.
            raise OSError(without_secrets(one_line(error))) from None


def open_bounded(where: str, opening: Callable[[], BinaryIO]) -> BinaryIO:
    """An open file of another machine, to be read as bytes.

    Raises:
        UserError: no answer in time, at once or when it is read.
        OSError: an answer that is an error.
    """
    try:
        file = ask(where, opening)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise OSError(without_secrets(one_line(error))) from None
    return io.BufferedReader(_Bounded(where, file), HELD)  # type: ignore[return-value]
