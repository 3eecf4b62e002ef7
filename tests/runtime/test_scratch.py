"""Temporary folders live as long as their process."""

import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tzrec.runtime.scratch import PREFIX, remove_dead_scratch, scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _hold(temporary: str, ready) -> None:
    tempfile.tempdir = temporary
    with scratch_folder() as folder:
        (folder / "vectors").write_text("x")
        ready.set()
        time.sleep(60)


def test_a_killed_process_leaves_a_folder_until_the_next_command(temporary: Path) -> None:
    """hitrate, killed: all item vectors stayed in TMPDIR for ever."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(temporary), ready), daemon=True)
    process.start()
    assert ready.wait(30)
    remove_dead_scratch()
    (folder,) = temporary.iterdir()
    assert (folder / "vectors").exists()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    remove_dead_scratch()
    assert list(temporary.iterdir()) == []


def test_a_folder_goes_with_its_block(temporary: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == temporary
        remove_dead_scratch()
        assert folder.exists()
    assert list(temporary.iterdir()) == []


def test_links_and_files_of_others_are_left_alone(temporary: Path) -> None:
    home = temporary / "home"
    home.mkdir()
    (home / "lock").write_text("mine")
    (temporary / f"{PREFIX}link").symlink_to(home)
    (temporary / f"{PREFIX}file").write_text("x")
    remove_dead_scratch()
    assert (home / "lock").read_text() == "mine"
    assert len(list(temporary.iterdir())) == 3
