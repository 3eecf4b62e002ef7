"""Advisory locks: one holder, who is named, and whose death frees it."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tzrec.runtime.errors import UserError
from tzrec.runtime.lock import Lock, waiting_for


def _hold(path: Path, ready) -> None:
    assert Lock(path).acquire()
    ready.set()
    time.sleep(60)


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds `tmp_path/lock`."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", ready), daemon=True)
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_the_second_is_refused_and_learns_who_holds_it(tmp_path: Path, other) -> None:
    lock = Lock(tmp_path / "lock")
    assert not lock.acquire()
    assert f"process {other.pid} on {os.uname().nodename}" in lock.holder()
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert lock.acquire()
    assert lock.exclusive
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_waiting_is_announced_and_ends(tmp_path: Path, other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZREC_PATIENCE", "0.3")
    monkeypatch.setattr("tzrec.runtime.lock.ANNOUNCE", 0.1)
    told: list[str] = []
    with (
        pytest.raises(UserError, match=rf"process {other.pid} .* builds .* within 0\.3 s"),
        waiting_for(tmp_path / "lock", "builds the item pool", told.append),
    ):
        pass
    (line,) = told
    assert f"waiting for process {other.pid}" in line


def test_a_lock_of_nobody_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("left behind")
    with waiting_for(tmp_path / "lock", "works"):
        assert not Lock(tmp_path / "lock").acquire()
    assert Lock(tmp_path / "lock").acquire()
