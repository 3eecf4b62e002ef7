"""Values of flags that the commands of retrieval have in common."""

import argparse
from collections.abc import Callable, Sequence

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


def positives(text: str) -> list[int]:
    """Whole numbers of at least 1 joined by ",", ascending, each once, for argparse's `type`."""
    return sorted({positive(word.strip()) for word in text.split(",")})


def words(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """For argparse's `type`: some of `allowed` joined by ",", or "all" of them; in their order."""

    def read(text: str) -> list[str]:
        given = [word.strip() for word in text.split(",") if word.strip()]
        for word in given:
            if word not in (*allowed, "all"):
                raise argparse.ArgumentTypeError(
                    f'"{word}" is none of {", ".join(allowed)}, all{nearest(word, allowed)}'
                )
        return [word for word in allowed if word in given or "all" in given]

    return read


def only(flag: str, given: str | None, supported: str) -> None:
    """Refuses another kind of reader or writer than the one there is.

    Raises:
        UserError: `given` is neither None, nor empty, nor `supported`.
    """
    if given and given != supported:
        raise UserError(
            f"{flag}: {given} is not supported{nearest(given, [supported])}; supported: {supported}"
        )
