"""What text and JSON have in common: names with values, each with its place in the file."""

import bisect
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tzrec.runtime.errors import UserError

# The schema is about ten deep: whatever goes deeper than this is a mistake or an attack on the stack.
DEEPEST = 60


class Position(NamedTuple):
    """Line and column, both counted from 1; the column counts characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number or bare word as it is written, or the content of a quoted text."""

    kind: Literal["word", "number", "text"]
    text: str
    at: Position


@dataclass(frozen=True, slots=True)
class Items:
    """`[a, b]`."""

    values: "list[Value]"
    at: Position


@dataclass(frozen=True, slots=True)
class Block:
    """`{ name: value ... }`."""

    entries: "list[Entry]"
    at: Position


Value = Scalar | Items | Block


@dataclass(frozen=True, slots=True)
class Entry:
    """One `name: value`, placed where its name begins."""

    name: str
    value: Value
    at: Position


class Problem(NamedTuple):
    """Something wrong, and where."""

    at: Position
    what: str


@dataclass(frozen=True, slots=True)
class Tree:
    """A file that has been read but not yet held against the schema.

    Attributes:
        root: its entries.
        problems: what is wrong with the syntax.
        balanced: False when braces do not match, so that entries may stand at the wrong depth.
    """

    root: Block
    problems: list[Problem]
    balanced: bool = True


class Lines:
    """Turns offsets into a text into positions."""

    def __init__(self, text: str) -> None:
        self._starts = [0] + [i + 1 for i, character in enumerate(text) if character == "\n"]

    def at(self, offset: int) -> Position:
        """The position of the character with this offset, counted from 0."""
        line = bisect.bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)


def shown(text: str, most: int = 60) -> str:
    """`text` in quotes on one line, cut when it is long."""
    cut = text if len(text) <= most else text[: most - 3] + "..."
    return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut) + '"'


def together(source: str, lines: list[str]) -> UserError:
    """All mistakes as one exception, under a header when there are several."""
    if len(lines) == 1:
        return UserError(lines[0])
    return UserError("\n".join([f"{len(lines)} errors in {source}:", *lines]))
