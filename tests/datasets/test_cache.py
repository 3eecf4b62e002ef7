"""The cache of derived tables when its files are damaged, its builder is stopped or others may write into it.

The attacks: one bit flipped in each file of an entry, and the list of its contents missing, cut, empty,
garbage or another one's; a builder under SIGSTOP; a killed one whose table has changed since; a cache
folder of another user, or one that all may write into; a small gzip file that becomes a very large one.
"""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.datasets.test_negative_table import HEADER, TYPES, table
from tzrec.datasets import cache, cache_owner, negative_text
from tzrec.datasets.cache import built_once
from tzrec.datasets.negative_table import NegativeTable, open_table
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World, launch_identity

TEXT = HEADER + "".join(f"{item}\t{item % 3}\t{item}\x02a\x1db\x02{item}\n" for item in range(1, 40))


@pytest.fixture(autouse=True)
def _as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_compared", {})


def opened_again(folder: Path) -> NegativeTable:
    cache._compared.clear()
    return open_table(str(folder / "table.txt"), TYPES, "\x02", "\t", folder / "cache")


def entry(folder: Path) -> Path:
    [found] = [path for path in (folder / "cache").iterdir() if path.is_dir()]
    return found


def flip(path: Path) -> None:
    """One bit in the middle, without another size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def held(table: NegativeTable) -> list:
    """Copies: what is mapped is about to be damaged."""
    taken = table.take(np.arange(39), ["item", "tags", "price"])
    return [*(column.to_pylist() for column in taken.values()), table.weights.tolist(), table.keys.tolist()]


def test_one_bit_in_any_file_of_the_cache_is_found_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = held(table(tmp_path, TEXT))
    files = sorted(path for path in entry(tmp_path).iterdir() if path.stat().st_size)
    assert len(files) > 12
    capsys.readouterr()
    for file in files:
        flip(file)
        assert held(opened_again(tmp_path)) == made
        said = capsys.readouterr().out
        assert said.count("\n") == 1
        assert str(entry(tmp_path)) in said
        assert "is not what was written; the folder is built anew" in said
    opened_again(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["table.json", "checksums.json", "weights"])
@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"\xff\x00garbage", b"{}", b"[]", b"null", b'{"items": 1}', b'{"weights": 7}'],
)
def test_a_file_of_the_cache_is_missing_cut_or_another_one(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    made = held(table(tmp_path, TEXT))
    file = entry(tmp_path) / name
    file.write_bytes(content) if content is not None else file.unlink()
    assert held(opened_again(tmp_path)) == made


def test_a_file_that_is_too_much(tmp_path: Path) -> None:
    table(tmp_path, TEXT)
    (entry(tmp_path) / "column0.valid").write_bytes(b"\0" * 8)
    assert opened_again(tmp_path).columns["item"].null_count == 0


def test_a_damaged_cache_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path, TEXT)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    opened_again(tmp_path)
    flip(entry(tmp_path) / "weights")
    with pytest.raises(UserError, match=r"weights: is not what was written, .*TZREC_CACHE_DIR"):
        opened_again(tmp_path)


def test_an_entry_is_compared_once_a_start_and_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(cache, "damaged", lambda folder, sums: compared.append(folder))
    for name, value in (
        ("WORLD_SIZE", "2"),
        ("RANK", "0"),
        ("MASTER_ADDR", "localhost"),
        ("MASTER_PORT", "1"),
    ):
        monkeypatch.setenv(name, value)
    assert World.from_environment().local_size == 2
    table(tmp_path, TEXT)
    opened_again(tmp_path)  # The other process of this start.
    assert compared == []
    monkeypatch.setattr(cache, "launch_identity", lambda: launch_identity() + " the next")
    opened_again(tmp_path)
    opened_again(tmp_path)
    assert len(compared) == 1


SCRIPT = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from tzrec.datasets.cache import built_once
def build(folder):
    (folder / "a").write_text("half")
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
built_once(Path(sys.argv[1]), "pool-1", build)
"""


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that was stopped while it built."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "cache"), "SIGSTOP"])
    os.waitpid(process.pid, os.WUNTRACED)
    yield process
    process.kill()
    process.wait()


def test_nobody_waits_for_a_stopped_builder_without_end(
    tmp_path: Path,
    builder: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TZREC_PATIENCE", "0.5")
    monkeypatch.setattr("tzrec.runtime.lock.ANNOUNCE", 0.1)
    began = time.monotonic()
    with pytest.raises(UserError, match=rf"process {builder.pid} on .*has not finished within 0.5 s"):
        built_once(tmp_path / "cache", "pool-1", lambda folder: None)
    assert time.monotonic() - began < 5
    assert f"waiting for process {builder.pid}" in capsys.readouterr().out
    # Other tables do not wait, and leave alone what is being built.
    built_once(tmp_path / "cache", "pool-2", lambda folder: (folder / "b").touch())
    assert list((tmp_path / "cache").glob("pool-1.*.unfinished"))
    builder.kill()
    builder.wait()
    assert (built_once(tmp_path / "cache", "pool-1", lambda folder: (folder / "c").touch()) / "c").exists()
    assert not list((tmp_path / "cache").glob("*.unfinished"))


def test_what_a_killed_builder_left_is_removed_by_the_next_of_any_table(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "cache"), "SIGKILL"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "cache").glob("pool-1.*.unfinished"))
    built_once(tmp_path / "cache", "pool-2", lambda folder: (folder / "a").touch())
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["pool-2"]


def test_a_cache_that_another_user_owns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    theirs = os.stat_result((0o40755, 1, 1, 2, 7654, 7654, 0, 0, 0, 0))
    monkeypatch.setattr(cache_owner, "os", SimpleNamespace(geteuid=os.geteuid, stat=lambda path: theirs))
    with pytest.raises(UserError, match=r"cache: belongs to user 7654, .*; set TZREC_CACHE_DIR"):
        built_once(folder, "pool", lambda path: None)


@pytest.mark.parametrize(("mode", "who"), [(0o757, "everybody"), (0o777, "its group and everybody")])
def test_a_cache_that_others_may_write_into(
    tmp_path: Path, mode: int, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_owner, "_is_private", lambda group: False)
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UserError, match=rf"cache: {who} may write into it .*chmod go-w"):
        table(tmp_path, TEXT)
    folder.chmod(0o755)
    table(tmp_path, TEXT)
    # An entry too: somebody may have copied it there.
    entry(tmp_path).chmod(mode)
    with pytest.raises(UserError, match=rf"negatives-\w+: {who} may write"):
        opened_again(tmp_path)


def test_the_cache_is_made_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        table(tmp_path, TEXT)
    finally:
        os.umask(before)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("line", [b"1\t1\t1\x02a\x021\n", b"\0"], ids=["lines", "no line"])
def test_a_gzip_file_that_becomes_very_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    monkeypatch.setattr(negative_text, "EXPANDED", 1 << 20)
    monkeypatch.setattr(negative_text, "BLOCK", 1 << 16)
    path = tmp_path / "table.gz"
    with gzip.open(path, "wb") as file:
        file.write(HEADER.encode())
        for _ in range(64):
            file.write(line * ((1 << 18) // len(line)))
    with pytest.raises(UserError, match=r"table\.gz: is gzip-compressed, and .* have become more than"):
        open_table(str(path), TYPES, "\x02", "\t", tmp_path / "cache", block=1 << 16)
    assert list((tmp_path / "cache").iterdir()) == []
