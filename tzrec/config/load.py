"""A configuration file becomes a message that knows where each of its fields stands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format

from tzrec.config.bind import bind
from tzrec.config.json_text import read_json
from tzrec.config.text import read_text
from tzrec.config.tree import Position, together
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.errors import UserError

_LAST_STEP = re.compile(r"(?:^|\.)[^.\[\]]+$|\[\d+\]$")


@dataclass(frozen=True)
class Loaded:
    """A configuration and its origin.

    Attributes:
        message: the configuration; edits and validation change it in place.
        path: the file, as it was named.
        positions: dotted path -> place of the field or element in the file.
        changed: dotted path -> the flag that set the field after the file was read.
        notes: lines for the user about what was accepted but deserves a word; for rank 0 to print.
    """

    message: EasyRecConfig
    path: str
    positions: Mapping[str, Position] = field(default_factory=dict, repr=False)
    changed: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def where(self, field_path: str) -> str:
        """`file:line:column` of a field such as "feature_configs[3].id_feature.num_buckets".

        A field that does not stand in the file is placed at the nearest thing around it that does,
        or at the file alone; one that a flag has set is placed at that flag.
        """
        around = _self_and_ancestors(field_path)
        for step in around:
            if step in self.changed:
                return self.changed[step]
        for step in around:
            if step in self.positions:
                line, column = self.positions[step]
                return f"{self.path}:{line}:{column}"
        return self.path

    def order(self, field_path: str) -> tuple[int, int]:
        """Sorts paths as they stand in the file; those that only flags have set come first."""
        return next(
            (self.positions[p] for p in _self_and_ancestors(field_path) if p in self.positions), (0, 0)
        )


def _self_and_ancestors(path: str) -> list[str]:
    steps = []
    while path:
        steps.append(path)
        path = _LAST_STEP.sub("", path) if _LAST_STEP.search(path) else ""
    return steps


def load_pipeline(path: str) -> Loaded:
    """Reads a configuration: JSON where the name ends in .json, protobuf text otherwise.

    Required fields may still be missing: the command line may give them.

    Raises:
        UserError: the file cannot be read, or all that is wrong with its syntax and its fields,
            a line each, as `file:line:column: what; what is meant`.
    """
    text = _read(path)
    json = path.lower().endswith(".json")
    tree = read_json(text) if json else read_text(text)
    message = EasyRecConfig()
    bound = bind(message, tree.root, json, tree.balanced)
    if tree.problems and json:
        bound.problems.clear()
    problems = sorted(set(tree.problems + bound.problems))
    if problems:
        raise together(path, [f"{path}:{p.at.line}:{p.at.column}: {p.what}" for p in problems])
    return Loaded(message, path, bound.positions)


def _read(path: str) -> str:
    try:
        raw = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path}: cannot read the configuration: {reason}; give a file that can be read"
        ) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: the configuration is not UTF-8; save it as UTF-8") from None


def to_text(message: EasyRecConfig) -> str:
    """The message as protobuf text that loads again unchanged: UTF-8 stays, separators are escaped."""
    return str(text_format.MessageToString(message, as_utf8=True))
