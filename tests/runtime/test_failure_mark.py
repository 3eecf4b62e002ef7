"""One report a launch and host, and one for every launch."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tzrec.runtime import failure_mark
from tzrec.runtime.failure_mark import first_to_report, remove_dead_marks

ROOT = Path(__file__).parents[2]


def start(rank: int, temporary: Path) -> subprocess.Popen:
    """A rank that is started by hand and fails at once."""
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    environment |= {"MASTER_PORT": "29999", "TMPDIR": str(temporary)}
    words = [sys.executable, "-m", "tzrec.export", "--pipeline_config_path", "nowhere"]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_every_launch_of_ranks_by_hand_reports(tmp_path: Path) -> None:
    """The mark of the first failure stayed in TMPDIR, and the second one said nothing."""
    for _ in range(2):
        ranks = [start(rank, tmp_path) for rank in range(2)]
        said = "".join(rank.communicate(timeout=60)[1] for rank in ranks)
        assert [rank.returncode for rank in ranks] == [2, 2]
        # Twice where the second rank began after the first had ended.
        assert said.count("tzrec.export: error: ") in (1, 2), said
        assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a rank of two; returns the temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in (
        ("WORLD_SIZE", "2"),
        ("RANK", "0"),
        ("MASTER_ADDR", "localhost"),
        ("MASTER_PORT", "29"),
    ):
        monkeypatch.setenv(name, value)
    return tmp_path


def test_the_first_of_a_launch_reports(launch: Path) -> None:
    assert first_to_report()
    assert not first_to_report()
    remove_dead_marks()
    assert not first_to_report(), "a mark of this launch is kept"


def test_marks_of_ended_launches_are_removed(launch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    prefix = failure_mark._prefix()
    (launch / f"{prefix}{ended.pid}-12345-0-29500").touch()
    (launch / f"{prefix}{os.getpid()}-12345-0-29500").touch()  # A later process of the same number.
    living = launch / f"{prefix}{os.getppid()}-{failure_mark.process_start(os.getppid())}-0-1"
    living.touch()
    stranger = launch / f"tzrec-failed-{os.getuid()}-00000000-1-1-0-"
    stranger.touch()
    remove_dead_marks()
    assert sorted(launch.iterdir()) == sorted([living, stranger])
    # Of this launch by its name, from before it by its time.
    assert first_to_report()
    mark = Path(failure_mark._mark())
    os.utime(mark, (time.time() - 10**7,) * 2)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", "x")
    remove_dead_marks()
    assert mark.exists(), "torchrun's workers may start one after the other's failure"
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")
    remove_dead_marks()
    assert first_to_report()
