"""Protobuf text format as a tree, with every mistake of the syntax in one pass."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

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

_TOKEN = re.compile(
    r"""(?P<space>(?:\s+|\#[^\n]*)+)
      | (?P<word>[A-Za-z_][A-Za-z0-9_+-]*)
      | (?P<number>(?:[0-9+-]|\.[0-9])[A-Za-z0-9_.+-]*)
      | (?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
      | (?P<open_text>["'][^\n]*)
      | (?P<symbol>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9A-Fa-f]{1,2})|u(?P<u4>[0-9A-Fa-f]{4})"
    r"|U(?P<u8>[0-9A-Fa-f]{8})|(?P<one>.))",
    re.DOTALL,
)
_ONE = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ONE |= {c: c for c in "\\'\"?"}
_CLOSER = {"{": "}", "<": ">"}

Kind = Literal["word", "number", "text", "symbol", "end"]


class _Token(NamedTuple):
    kind: Kind
    text: str
    at: Position


class _TooDeepError(Exception):
    pass


def read_text(text: str) -> Tree:
    """Reads protobuf text format. Never raises: what is wrong is in the tree's `problems`."""
    problems: list[Problem] = []
    reader = _Reader(_tokens(text, problems), problems)
    entries: list[Entry] = []
    try:
        reader.entries(None, 0, entries)
    except _TooDeepError:
        problems.append(Problem(reader.peek().at, f"nested more than {DEEPEST} deep"))
    return Tree(Block(entries, Position(1, 1)), sorted(problems), reader.balanced)


def unescape(body: str) -> str:
    r"""The text that stands for a quoted one: `\n`, `\x1d`, `\035`, `\u4e2d`, and UTF-8 bytes so written.

    Raises:
        ValueError: an unknown escape, or bytes that are not UTF-8.
    """
    if "\\" not in body:
        return body
    parts, end = [], 0
    for match in _ESCAPE.finditer(body):
        parts += [body[end : match.start()].encode(), _unescape_one(match)]
        end = match.end()
    parts.append(body[end:].encode())
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise ValueError("the escaped bytes are not UTF-8") from None


def _unescape_one(match: re.Match[str]) -> bytes:
    if match["one"] is not None:
        if match["one"] not in _ONE:
            raise ValueError(f"unknown escape {match[0]}; a backslash itself is written \\\\")
        return _ONE[match["one"]].encode()
    point = match["u4"] or match["u8"]
    code = int(point or match["hex"] or match["octal"], 16 if match["octal"] is None else 8)
    if point is None:
        if code > 0xFF:
            raise ValueError(f"{match[0]} is more than a byte")
        return bytes([code])
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError(f"{match[0]} is no character")
    return chr(code).encode()


def _tokens(text: str, problems: list[Problem]) -> list[_Token]:
    lines, tokens = Lines(text), []
    for match in _TOKEN.finditer(text):
        kind, word, at = match.lastgroup, match[0], lines.at(match.start())
        if kind == "space":
            continue
        if kind == "open_text":
            problems.append(Problem(at, f"the text {shown(word[1:], 30)} has no closing {word[0]}"))
            kind, word = "text", ""
        elif kind == "text":
            try:
                word = unescape(word[1:-1])
            except ValueError as error:
                problems.append(Problem(at, str(error)))
                word = ""
        tokens.append(_Token(kind, word, at))  # type: ignore[arg-type]
    tokens.append(_Token("end", "the end of the file", lines.at(len(text))))
    return tokens


@dataclass
class _Reader:
    """Recursive descent; each method leaves the reader behind what it has dealt with."""

    tokens: list[_Token]
    problems: list[Problem]
    balanced: bool = True
    next: int = 0

    def peek(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.next + ahead, len(self.tokens) - 1)]

    def take(self) -> _Token:
        token = self.peek()
        self.next += 1
        return token

    def is_symbol(self, *symbols: str) -> bool:
        return self.peek().kind == "symbol" and self.peek().text in symbols

    def accept(self, *symbols: str) -> bool:
        found = self.is_symbol(*symbols)
        self.next += found
        return found

    def wrong(self, token: _Token, what: str) -> None:
        self.problems.append(Problem(token.at, what))

    def entries(self, opener: _Token | None, depth: int, into: list[Entry], name: str = "") -> None:
        """Entries up to the closing brace that fits `opener`, or to the end of the file."""
        if depth > DEEPEST:
            raise _TooDeepError
        while True:
            token = self.peek()
            if token.kind == "end":
                if opener:
                    self.balanced = False
                    self.wrong(opener, f'the "{opener.text}" of {name} is never closed')
                return
            if self.accept("}", ">"):
                if self._closes(opener, token, name):
                    return
            elif token.kind == "word":
                self._entry(depth, into)
            else:
                self._stray(token, depth)

    def _closes(self, opener: _Token | None, token: _Token, name: str) -> bool:
        if opener is None:
            self.balanced = False
            self.wrong(token, f'"{token.text}" closes nothing')
            return False
        if token.text != _CLOSER[opener.text]:
            self.wrong(token, f'the "{opener.text}" of {name} is closed by "{token.text}"')
        return True

    def _entry(self, depth: int, into: list[Entry]) -> None:
        name = self.take()
        colon = self.accept(":")
        token = self.peek()
        if not colon and not self.is_symbol("{", "<"):
            self.wrong(token, f'{name.text} wants a ":" before its value, found {shown(token.text)}')
            if not self.accept("=") and (token.kind in ("end", "symbol") or token.at.line > name.at.line):
                return
        elif self._begins_next(name):
            self.wrong(name, f"{name.text} has no value")
            return
        value = self._value(name.text, depth)
        if value is not None:
            into.append(Entry(name.text, value, name.at))
        if not self.accept(","):
            self.accept(";")

    def _begins_next(self, name: _Token) -> bool:
        """True where the value is missing and the next entry, a brace or the end comes instead."""
        token, after = self.peek(), self.peek(1)
        if token.kind == "end" or self.is_symbol("}", ">"):
            return True
        named = token.kind == "word" and after.kind == "symbol" and after.text in ":{"
        return named and token.at.line > name.at.line

    def _value(self, name: str, depth: int) -> Value | None:
        token = self.take()
        if token.kind == "symbol" and token.text in _CLOSER:
            entries: list[Entry] = []
            self.entries(token, depth + 1, entries, name)
            return Block(entries, token.at)
        if token.kind == "symbol" and token.text == "[":
            return self._items(token, name, depth + 1)
        if token.kind in ("word", "number"):
            return Scalar(token.kind, token.text, token.at)  # type: ignore[arg-type]
        if token.kind == "text":
            text = token.text
            while self.peek().kind == "text":  # Texts side by side are one.
                text += self.take().text
            return Scalar("text", text, token.at)
        self.next -= 1
        self.wrong(token, f"{name} has no value, found {shown(token.text)}")
        if token.kind == "symbol" and token.text not in "}>":
            self.next += 1
        return None

    def _items(self, opener: _Token, name: str, depth: int) -> Items:
        if depth > DEEPEST:
            raise _TooDeepError
        values: list[Value] = []
        if self.accept("]"):
            return Items(values, opener.at)
        while True:
            if self.peek().kind != "end" and not self.is_symbol("]", "}", ">"):
                value = self._value(name, depth)
                if value is not None:
                    values.append(value)
            else:
                self.wrong(self.peek(), f'the list of {name} wants a value, found "{self.peek().text}"')
            if self.accept(","):
                continue
            if not self.accept("]"):
                self.wrong(
                    self.peek(), f'the list of {name} wants "," or "]", found {shown(self.peek().text)}'
                )
                self._skip_line(self.peek().at.line)
                self.accept("]")
            return Items(values, opener.at)

    def _stray(self, token: _Token, depth: int) -> None:
        """Something where a name should stand: reported once a line, a block is read and dropped."""
        if not (self.problems and self.problems[-1].at.line == token.at.line):
            self.wrong(token, f"wants the name of a field, found {shown(token.text)}")
        self.take()
        if token.kind == "symbol" and token.text in _CLOSER:
            self.entries(token, depth + 1, [], "a block without a name")
        else:
            self._skip_line(token.at.line)

    def _skip_line(self, line: int) -> None:
        while self.peek().kind != "end" and self.peek().at.line == line:
            if self.is_symbol("{", "<", "}", ">"):
                return
            self.next += 1
