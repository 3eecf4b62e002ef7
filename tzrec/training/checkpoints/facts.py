"""`state.json` of a checkpoint: position, plan, metrics, and the checksums of the checkpoint's files.

It holds a checksum of its own content too. Checkpoints of tzrec before checksums have neither; they
are read as they are.
"""

import contextlib
import json
import os
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tzrec.datasets.division import Leg
from tzrec.datasets.rows import SEED
from tzrec.runtime.errors import UserError

STATE = "state.json"


class UnreadableError(Exception):
    """A file of a checkpoint is missing or damaged.

    Args:
        file: which one.
        what: what was found, such as "is missing".
    """

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(file, what)
        self.file, self.what = file, what


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        step: steps done in all.
        epoch: whole passes over the table done.
        epoch_step: steps done in the pass that is under way.
    """

    step: int = 0
    epoch: int = 0
    epoch_step: int = 0


@dataclass
class Data:
    """How far the pass under way has come, for every rank and worker at once.

    Attributes:
        table: fingerprint of the row groups; with another table the pass cannot go on.
        rows: of the whole table.
        legs: how the rows of the pass were divided so far, one entry a division.
        seed: what the order of rows, the negatives and the random numbers of a step come from.
    """

    table: str = ""
    rows: int = 0
    legs: tuple[Leg, ...] = ()
    seed: int = SEED


@dataclass
class Facts:
    """What `state.json` holds beside the tensors.

    Attributes:
        position, data: where the run goes on.
        plan: for each embedding table its kind of sharding and its ranks.
        metrics: of the evaluation at this checkpoint; empty until it is done.
        files: name -> checksum of the other files; empty in a checkpoint without checksums.
    """

    position: Position = field(default_factory=Position)
    data: Data = field(default_factory=Data)
    plan: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def parse_facts(checkpoint: Path) -> Facts:
    """What the checkpoint says of itself.

    Raises:
        UnreadableError: `state.json` is missing or damaged.
        UserError: it was written by another version.
    """
    path = checkpoint / STATE
    content = read_file(path)
    try:
        held = json.loads(content.decode())
    except (ValueError, RecursionError):
        raise UnreadableError(path, "is damaged: it is no JSON" if content else "is empty") from None
    if not isinstance(held, dict):
        raise UnreadableError(path, "is damaged: it is no JSON object")
    checksum = held.pop("checksum", None)
    if checksum != _own_checksum(held) and (checksum is not None or "files" in held):
        raise UnreadableError(path, "is damaged: its content does not have the checksum that it names")
    try:
        facts = _facts(held)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{path}: was not written by this version of tzrec; take the version that trained it, or begin "
            "in a new model_dir"
        ) from None
    return facts


def read_file(path: Path) -> bytes:
    """The content of a file of a checkpoint.

    Raises:
        UnreadableError: it is missing, or no file: to open a pipe would wait for ever.
    """
    try:
        if not path.is_file():
            there = "is a folder" if path.is_dir() else "is no file" if path.exists() else "is missing"
            raise UnreadableError(path, there)
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadableError(path, "is missing") from None


def write_facts(checkpoint: Path, facts: Facts) -> None:
    """Replaces `state.json` in one go, with a checksum of its content."""
    held = asdict(facts)
    if not facts.files:
        # Nothing vouches for the other files: the checkpoint stays one without checksums.
        del held["files"]
    replace_text(checkpoint / STATE, json.dumps(held | {"checksum": _own_checksum(held)}, indent=1))


def replace_text(path: Path, text: str) -> None:
    """The file has the old content or the new one, never a part, also when the power fails.

    Raises:
        OSError: it cannot be written; it names the file.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        if not error.errno:
            raise
        # The error of a write names no file, and the draft is no name that the user knows.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _own_checksum(held: dict[str, Any]) -> str:
    """CRC-32 of the content, however it is laid out in the file."""
    return f"{zlib.crc32(json.dumps(held, sort_keys=True, separators=(',', ':')).encode()):08x}"


def _facts(held: dict[str, Any]) -> Facts:
    data = held["data"]
    facts = Facts(
        Position(**held["position"]),
        Data(**{**data, "legs": tuple(Leg(**leg) for leg in data["legs"])}),
        dict(held["plan"]),
        {str(name): float(value) for name, value in held["metrics"].items()},
        {str(name): str(value) for name, value in held.get("files", {}).items()},
    )
    numbers = [*asdict(facts.position).values(), facts.data.rows, facts.data.seed]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise TypeError("a count that is none")
    return facts
