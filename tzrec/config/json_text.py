"""JSON as a tree: the standard library's reader forgets where things stand and drops duplicates."""

import json
import re
from dataclasses import dataclass

from tzrec.config.tree import (
    DEEPEST,
    Block,
    Entry,
    Items,
    Lines,
    Position,
    Problem,
    Scalar,
    Tree,
    Value,
    shown,
)

_SPACE = re.compile(r"[ \t\n\r]*")
_BARE = re.compile(r"-?[A-Za-z0-9_.][A-Za-z0-9_.+-]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

_decoder = json.JSONDecoder()


class _WrongError(Exception):
    """The first mistake of the syntax: there is no guessing on behind it."""

    def __init__(self, offset: int, what: str) -> None:
        self.offset, self.what = offset, what


def read_json(text: str) -> Tree:
    """Reads one JSON object. Never raises: what is wrong is in the tree's `problems`."""
    lines = Lines(text)
    try:
        root = _Reader(text, lines).document()
    except _WrongError as wrong:
        return Tree(Block([], Position(1, 1)), [Problem(lines.at(wrong.offset), wrong.what)])
    return Tree(root, [])


@dataclass
class _Reader:
    text: str
    lines: Lines
    offset: int = 0

    def document(self) -> Block:
        self._space()
        if self._here() != "{":
            raise _WrongError(self.offset, f"wants a JSON object, found {self._found()}")
        root = self._object(0)
        self._space()
        if self.offset < len(self.text):
            raise _WrongError(self.offset, f"wants nothing behind the object, found {self._found()}")
        return root

    def _here(self) -> str:
        return self.text[self.offset : self.offset + 1]

    def _found(self) -> str:
        return shown(self._here()) if self._here() else "the end"

    def _space(self) -> None:
        match = _SPACE.match(self.text, self.offset)
        assert match
        self.offset = match.end()

    def _accept(self, character: str) -> bool:
        self._space()
        found = self._here() == character
        self.offset += found
        return found

    def _value(self, depth: int) -> Value:
        if depth > DEEPEST:
            raise _WrongError(self.offset, f"nested more than {DEEPEST} deep")
        self._space()
        at = self.lines.at(self.offset)
        if self._here() == "{":
            return self._object(depth)
        if self._here() == "[":
            return self._array(depth)
        if self._here() == '"':
            return Scalar("text", self._string(), at)
        match = _BARE.match(self.text, self.offset)
        if match and match[0] in ("true", "false", "null"):
            self.offset = match.end()
            return Scalar("word", match[0], at)
        if match and _NUMBER.fullmatch(match[0]):
            self.offset = match.end()
            return Scalar("number", match[0], at)
        raise _WrongError(self.offset, f"{shown(match[0]) if match else self._found()} is no JSON value")

    def _string(self) -> str:
        start = self.offset
        try:
            value, self.offset = _decoder.raw_decode(self.text, start)
            value.encode()
        except json.JSONDecodeError as error:
            raise _WrongError(min(error.pos, len(self.text)), error.msg) from None
        except UnicodeEncodeError:
            raise _WrongError(start, "half of a surrogate pair is no character") from None
        return value

    def _object(self, depth: int) -> Block:
        at = self.lines.at(self.offset)
        self.offset += 1
        entries: list[Entry] = []
        if self._accept("}"):
            return Block(entries, at)
        while True:
            self._space()
            name_at = self.lines.at(self.offset)
            if self._here() != '"':
                behind = " behind the comma" if entries else ""
                raise _WrongError(
                    self.offset, f"wants a name in double quotes{behind}, found {self._found()}"
                )
            name = self._string()
            if not self._accept(":"):
                raise _WrongError(self.offset, f'wants ":" after {shown(name)}, found {self._found()}')
            entries.append(Entry(name, self._value(depth + 1), name_at))
            if self._accept("}"):
                return Block(entries, at)
            if not self._accept(","):
                raise _WrongError(self.offset, f'wants "," or "}}", found {self._found()}')

    def _array(self, depth: int) -> Items:
        at = self.lines.at(self.offset)
        self.offset += 1
        values: list[Value] = []
        if self._accept("]"):
            return Items(values, at)
        while True:
            values.append(self._value(depth + 1))
            if self._accept("]"):
                return Items(values, at)
            if not self._accept(","):
                raise _WrongError(self.offset, f'wants "," or "]", found {self._found()}')
