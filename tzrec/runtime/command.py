"""The shape of every command: flags that are checked, one line for a mistake, exit status 2."""

import argparse
import contextlib
import ctypes
import io
import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from tzrec.runtime.errors import UserError, nearest, without_secrets
from tzrec.runtime.failure_mark import first_to_report, remove_dead_marks
from tzrec.runtime.peers import stopped
from tzrec.runtime.processes import lost_contact
from tzrec.runtime.scratch import remove_dead_scratch
from tzrec.runtime.storage import describe, refusal
from tzrec.runtime.world import World, error_file

USER_ERROR = 2
FAILURE = 1
INTERRUPTED = 130

# From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1

# Ends of the names of flags that say where something is.
PLACES = ("_path", "_dir", "_input", "_output", "_checkpoint", "report")

# Seconds after which a process ends that only suffers from the failure of another one.
SECOND_FIDDLE = 2.0


class Parser(argparse.ArgumentParser):
    """argparse that refuses unknown flags with the nearest right spelling and never exits by itself."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(
            prog=module,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def, override]
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            flags = [flag for action in self._actions for flag in action.option_strings]
            wrong = [word for word in rest if word.startswith("-")] or rest
            given = "; ".join(
                f"unknown flag {word.split('=')[0]}{nearest(word.split('=')[0], flags)}"
                if word.startswith("-")
                else f'unexpected word "{word}" (does a glob need a backslash or quotes?)'
                for word in wrong
            )
            self.error(given)
        for action in self._actions:
            # An empty variable of a shell; taken for no flag at all, it would hide a wrong place.
            if action.dest.endswith(PLACES) and getattr(known, action.dest, None) == "":
                self.error(f"{action.option_strings[0]}: the path is empty; give one")
        return known

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m {self.prog} --help")


def split_names(text: str | None) -> list[str]:
    """`a,b` as ["a", "b"]; None and "" as []."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _alone() -> bool:
    """Whether this is the only process; one whose environment contradicts itself speaks for itself."""
    try:
        return World.from_environment().size == 1
    except UserError:
        return True


def _end_with_launcher() -> None:
    """Has the kernel send SIGTERM to this process when torchrun dies.

    torchrun starts workers in sessions of their own. Without this, those of a launcher that was
    killed train on, into the model_dir of the run that takes its place.
    """
    if error_file() is not None and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _tell_launcher(text: str) -> None:
    """Leaves the reason where torchrun picks it up for the end of its own report."""
    path = error_file()
    if path is not None:
        told = {"message": {"message": text, "extraInfo": {"timestamp": str(int(time.time()))}}}
        # Its loss costs a line of the report, no more.
        with contextlib.suppress(OSError):
            path.write_text(json.dumps(told), encoding="utf-8")


def _out_of_memory(error: BaseException) -> str:
    """What an error says about memory that the system did not give; "" for another error."""
    allocator = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if not isinstance(error, MemoryError) and not allocator and type(error).__name__ != "OutOfMemoryError":
        return ""
    asked = re.search(r"allocate (?:\d+ bytes|[\d.]+ [KMGTP]i?B)", str(error))
    return (
        f"out of memory{f' (could not {asked[0]})' if asked else ''}; ask for less "
        "(rows, batch_size, negatives, layers, tables), or take a host with more memory"
    )


def explain(error: BaseException) -> tuple[str, int]:
    """What to say of an error, in one line, and the exit status; "" for what wants a traceback."""
    if isinstance(error, UserError):
        return str(error), USER_ERROR
    if refusal(error) is not None:
        return describe(error), USER_ERROR
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        name = f'"{error.object}" cannot be written in the encoding of this locale, {error.encoding}'
        return f"{name}; set PYTHONUTF8=1 or LC_ALL=C.UTF-8 and start again", USER_ERROR
    if text := _out_of_memory(error):
        return text, USER_ERROR
    return lost_contact(error), FAILURE


def run(module: str, main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Runs `main` and ends the process: 0 done, 2 a user's mistake (one line), 1 anything else.

    Args:
        module: the name the command is launched by, such as "tzrec.train_eval".
        main: takes the words of the command line.
        argv: the words; those of this process by default.
    """
    status = 0
    # A name that the terminal's encoding lacks is shown as \u4e2d; it must not end the work.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _end_with_launcher()
    remove_dead_scratch()
    remove_dead_marks()
    try:
        main(sys.argv[1:] if argv is None else argv)
    except SystemExit as leaving:  # argparse's --help
        status = leaving.code if isinstance(leaving.code, int) else FAILURE
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BaseException as error:
        text, status = explain(error)
        text = without_secrets(text)
        # The process that is the first to report must come to say it: torchrun ends it as soon as
        # another one, which left it the word, has gone.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        first = first_to_report()
        if first and text:
            # The cursor may stand behind a progress bar, which belongs to another process.
            begin = "" if _alone() else "\n"
            sys.stderr.write(f"{begin}{module}: error: {text}\n")
        elif first:
            sys.stderr.write(without_secrets(traceback.format_exc()))
        sys.stderr.flush()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if lost_contact(error):
            # The launcher calls the process that ends first the cause: let that be another one.
            time.sleep(SECOND_FIDDLE)
        if stopped() or not lost_contact(error):
            _tell_launcher(f"{module}: error: {text or without_secrets(traceback.format_exc())}")
    sys.stdout.flush()
    sys.stderr.flush()
    if status or "torch" in sys.modules:
        # Not sys.exit: it would wait for loader threads and for peers that are gone, and native
        # threads of torch that outlive the interpreter abort a process that has done its work.
        os._exit(status)
    sys.exit(0)
