"""Files that run code when they are unpickled, and checkpoints that hold them."""

import functools
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from tzrec.runtime.checksum import checksums
from tzrec.training.checkpoint import read_facts, write_facts


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def payloads(mark: Path) -> dict[str, bytes]:
    """Name -> pickle that makes the file `mark` when it is read without care."""
    text, code = str(mark), f"__import__('os').mkdir({str(mark)!r})"

    def opcodes(*lines: bytes) -> bytes:
        return b"\x80\x04" + b"".join(lines) + b"."

    def word(value: str) -> bytes:
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    return {
        "os.system": pickle.dumps(Calls(os.system, f"touch {text}")),
        "open": pickle.dumps(Calls(open, text, "w")),
        "exec": pickle.dumps(Calls(exec, code)),
        "old protocol": pickle.dumps(Calls(os.system, f"touch {text}"), protocol=0),
        "chain of getattr": opcodes(
            *(word("builtins"), word("getattr"), b"\x93"),
            *(word("importlib"), word("import_module"), b"\x93", word("os"), b"\x85R"),
            *(word("system"), b"\x86R", word(f"touch {text}"), b"\x85R"),
        ),
        "dotted name": opcodes(
            *(word("torch.serialization"), word("os.system"), b"\x93"),
            *(word(f"touch {text}"), b"\x85R"),
        ),
        "dotted name of a class of checkpoints": opcodes(
            *(word("torch.distributed.checkpoint.metadata"), word("os.mkdir"), b"\x93"),
            *(word(text), b"\x85R"),
        ),
        "method of a class of checkpoints": opcodes(
            *(word("torch.distributed.checkpoint.filesystem"), word("FileSystem.mkdir"), b"\x93"),
            *(b"N", word(text), b"\x86R"),
        ),
        "torch's loader": pickle.dumps(Calls(torch.load, text)),
        "collections": pickle.dumps(OrderedDict(a=Calls(os.system, f"touch {text}"))),
        "old instruction": b"(S'touch " + text.encode() + b"'\nios\nsystem\n.",
        "partial": pickle.dumps(functools.partial(os.system, f"touch {text}")),
    }


def sign(checkpoint: Path) -> None:
    """Gives the files of a checkpoint new checksums, as somebody who means harm would."""
    facts = read_facts(checkpoint)
    facts.files = checksums(
        checkpoint, [file.name for file in checkpoint.iterdir() if file.name != "state.json"]
    )
    write_facts(checkpoint, facts)


def forget_checksums(checkpoint: Path) -> None:
    """Makes it one that was written before there were checksums."""
    held = json.loads((checkpoint / "state.json").read_text())
    del held["files"], held["checksum"]
    (checkpoint / "state.json").write_text(json.dumps(held))
