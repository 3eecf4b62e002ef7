"""Checkpoints that run no code and do harm nevertheless: memory, time and the stack of the reader."""

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random

import pytest
import torch

from tests.small import Small
from tzrec.training.checkpoint import path_of
from tzrec.training.checkpoints.archive import check_archive
from tzrec.training.checkpoints.facts import UnreadableError, parse_facts
from tzrec.training.checkpoints.metadata import CLASSES, read_metadata

START = b"\x80\x04"


def nested(depth: int) -> bytes:
    """A tuple of itself twice, and so on: to hash it takes 2^depth steps."""
    twice = b"".join(b"h" + bytes([level]) + b"h" + bytes([level]) + b"\x86\x94" for level in range(depth))
    return b")\x94" + twice


BOMBS = {
    "an index beyond the memo": START + b"Nr" + struct.pack("<I", 0x7FFFFFF0) + b".",
    "a key that is hashed for ever": START + b"}(" + b")\x94" + nested(60)[2:] + b"Nu.",
    "a key as deep as the stack": START + b"}" + b")" + b"\x85" * 300_000 + b"Ns.",
    "bytes of 64 GB": START + b"\x8e" + struct.pack("<Q", 1 << 36) + b"a.",
    "a text of 4 GB": START + b"X" + struct.pack("<I", 0xFFFFFFF0) + b"a.",
    "an integer of 2 GB": START + b"\x8b" + struct.pack("<I", 0x7FFFFFFF) + b"a.",
    "a frame of 2^62 bytes": START + b"\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "a class by its number": START + b"\x84" + struct.pack("<I", 1) + b".",
    "attributes of a class": START + b"\x8c\x05torch\x8c\x04Size\x93}\x8c\x08__init__Nsb.",
    "one tuple for many calls": b"".join(
        (
            *(START, b"(", b"K\x01" * 100_000, b"t\x94\x8c\x05torch\x8c\x04Size\x93\x94"),
            *(b"h\x01h\x00R" * 20_000, b"N}Ns."),
        )
    ),
}


def test_a_metadata_that_blows_up_is_refused(tmp_path: Path) -> None:
    """In a process of its own, with 1 GB of address space: it could end this one."""
    for number, bomb in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.pkl").write_bytes(bomb)
    program = """
import pathlib, resource, sys
from tzrec.training.checkpoints.plain_pickle import PlainUnpickler
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.pkl")):
    try:
        PlainUnpickler(path.read_bytes(), {("torch", "Size")}).load()
    except Exception:
        pass  # Or it is read as a plain value, which describes no tensors.
"""
    words = [sys.executable, "-c", program, str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended


def test_a_name_of_several_lines_is_shown_in_one(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError) as refused:
        read_metadata(tmp_path, START + b"\x8c\x02os\x8c\x05a\nb\x1b[\x93.")
    assert "os.a\\nb\\x1b[" in refused.value.what
    assert refused.value.what.isprintable()


def test_every_changed_byte_is_refused_or_read_as_whole(trained: Small) -> None:
    """300 changes, by chance, as an older checkpoint without checksums would meet them."""
    whole = (path_of(trained.model, 16) / ".metadata").read_bytes()
    chance, refused = Random(5), 0
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            changed[chance.randrange(len(whole))] = chance.randrange(256)
        try:
            found = read_metadata(Path("x"), bytes(changed))
        except UnreadableError:
            refused += 1
            continue
        for name, tensor in found.state_dict_metadata.items():
            assert sum(chunk.sizes.numel() for chunk in tensor.chunks) == tensor.size.numel(), name
    assert refused > 100


def test_a_part_of_a_tensor_that_is_not_there(trained: Small) -> None:
    """Its numbers would stay what the model began with, in silence."""
    metadata = pickle.loads((path_of(trained.model, 16) / ".metadata").read_bytes())
    assert len(CLASSES) > 8
    next(iter(metadata.state_dict_metadata.values())).chunks.clear()
    with pytest.raises(UnreadableError, match="is damaged"):
        read_metadata(Path("x"), pickle.dumps(metadata))


def saved(tensor: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save(tensor, stream)
    return stream.getvalue()


def again(content: bytes, kind: int = zipfile.ZIP_STORED, described: bytes | None = None) -> bytes:
    """An archive packed anew."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w", kind) as archive:
        for name in source.namelist():
            new = described if described is not None and name.endswith("data.pkl") else source.read(name)
            archive.writestr(name, new)
    return target.getvalue()


def test_an_archive_is_what_torch_writes_for_one_tensor() -> None:
    """Compressed a thousand times; a description that hashes for ever; an object in place of a tensor."""
    zeros = torch.zeros(1 << 20)
    for kind in (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool):
        for tensor in (torch.ones(3, 2, dtype=kind), torch.ones((), dtype=kind), torch.ones(0, dtype=kind)):
            content = saved(tensor)
            check_archive(io.BytesIO(b"before" + content), 6, len(content))
    check_archive(io.BytesIO(again(saved(zeros))), 0, len(again(saved(zeros))))
    for content in (
        again(saved(zeros), zipfile.ZIP_DEFLATED),
        again(saved(zeros), described=BOMBS["a key that is hashed for ever"]),
        again(saved(zeros), described=pickle.dumps([1, 2], protocol=2)),
        again(saved(zeros), described=b" " * (1 << 17)),
    ):
        with pytest.raises((ValueError, pickle.UnpicklingError, KeyError)):
            check_archive(io.BytesIO(b"before" + content), 6, len(content))


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    import os

    for name in (".metadata", "state.json"):
        os.mkfifo(tmp_path / name)
    for read in (read_metadata, parse_facts):
        with pytest.raises(UnreadableError, match="is no file"):
            read(tmp_path)
