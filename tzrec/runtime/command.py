"""The shape of every command: flags that are checked, one line for a mistake, exit status 2."""

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from tzrec.runtime.errors import UserError, nearest
from tzrec.runtime.world import World, launch_identity

USER_ERROR = 2
FAILURE = 1


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
        return known

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m {self.prog} --help")


def split_names(text: str | None) -> list[str]:
    """`a,b` as ["a", "b"]; None and "" as []."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _first_to_report() -> bool:
    """True in the first process of this launch on this host that asks; the others keep silent."""
    if World.from_environment().size == 1:
        return True
    mark = os.path.join(tempfile.gettempdir(), f"tzrec-failed-{os.getuid()}-{launch_identity()}")
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:
        pass  # No room for the mark: rather say it twice than not at all.
    return True


def run(module: str, main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Runs `main` and ends the process: 0 done, 2 a user's mistake (one line), 1 anything else.

    Args:
        module: the name the command is launched by, such as "tzrec.train_eval".
        main: takes the words of the command line.
        argv: the words; those of this process by default.
    """
    try:
        main(sys.argv[1:] if argv is None else argv)
        status = 0
    except UserError as error:
        if _first_to_report():
            print(f"{module}: error: {error}", file=sys.stderr)
        status = USER_ERROR
    except SystemExit as leaving:  # argparse's --help
        status = leaving.code if isinstance(leaving.code, int) else FAILURE
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        # A rank whose peer has failed sees a broken connection: the peer's line says more.
        if _first_to_report():
            traceback.print_exc()
        status = FAILURE
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        # Not sys.exit: it would wait for loader threads and for peers that are gone.
        os._exit(status)
    sys.exit(0)
