"""Checksums of files."""

import random
import zlib
from pathlib import Path

from tzrec.runtime.checksum import BLOCK, checksum, checksums, damaged


def test_it_is_the_crc_of_the_content(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(2 * BLOCK + 17)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    assert checksum(tmp_path / "a") == f"{zlib.crc32(content):08x}"
    assert checksum(tmp_path / "empty") == "00000000"


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    chance = random.Random(2)
    content = bytearray(chance.randbytes(5000))
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"b")
    expected = checksums(tmp_path, ["a", "b"])
    assert damaged(tmp_path, expected) is None
    for _ in range(50):
        spoilt, place = bytearray(content), chance.randrange(len(content))
        spoilt[place] ^= 1 << chance.randrange(8)
        (tmp_path / "a").write_bytes(spoilt)
        assert damaged(tmp_path, expected) == "a"
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").unlink()
    assert damaged(tmp_path, expected) == "b"
