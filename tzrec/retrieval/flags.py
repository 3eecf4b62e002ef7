"""Values of flags that the commands of retrieval have in common."""

import argparse

from tzrec.runtime.errors import UserError, nearest


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse's `type`."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number of at least 1')
    return number


def only(flag: str, given: str | None, supported: str) -> None:
    """Refuses another kind of reader or writer than the one there is.

    Raises:
        UserError: `given` is neither None, nor empty, nor `supported`.
    """
    if given and given != supported:
        raise UserError(
            f"{flag}: {given} is not supported{nearest(given, [supported])}; supported: {supported}"
        )
