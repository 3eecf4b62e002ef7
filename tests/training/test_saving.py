"""Saving in the background: what was true at the save is written, whole or not at all."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import join_group, leave_group
from tzrec.runtime.world import World
from tzrec.training import saving
from tzrec.training.checkpoint import Facts, Position, path_of, read_facts, steps_in
from tzrec.training.checkpoints.checks import check_files
from tzrec.training.checkpoints.reader import load
from tzrec.training.saving import Saver


@pytest.fixture(autouse=True)
def _group() -> Iterator[None]:
    join_group()
    yield
    leave_group()


def state(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"weight": torch.full((1000,), value)}}


def read(folder: Path) -> float:
    found = state(-1)
    load(folder, found)
    (value,) = set(found["model"]["weight"].tolist())
    return value


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds the writing thread until it is set."""
    opened, write = threading.Event(), saving.write

    def held(*args, **options):
        opened.wait(20)
        return write(*args, **options)

    monkeypatch.setattr(saving, "write", held)
    return opened


def test_training_goes_on_while_the_state_at_the_save_is_written(
    tmp_path: Path, gate: threading.Event
) -> None:
    saver = Saver(tmp_path, World())
    tensors = state(1.0)
    saver.begin(tensors, Facts(Position(5)))
    tensors["model"]["weight"].fill_(2.0)
    saver.add_metrics({"mrr": 0.25})
    saver.check()
    assert steps_in(tmp_path) == []
    gate.set()
    saver.finish()
    assert read(path_of(tmp_path, 5)) == 1.0
    assert read_facts(path_of(tmp_path, 5)).metrics == {"mrr": 0.25}
    saver.add_metrics({"mrr": 0.5})
    assert read_facts(path_of(tmp_path, 5)).metrics == {"mrr": 0.5}


def test_one_save_at_a_time(tmp_path: Path, gate: threading.Event) -> None:
    named: list[list[int]] = []
    saver = Saver(tmp_path, World(), lambda: named.append(steps_in(tmp_path)))
    saver.begin(state(1.0), Facts(Position(1)))
    threading.Timer(0.2, gate.set).start()
    saver.begin(state(2.0), Facts(Position(2)))
    assert named[0] == [1]
    saver.finish()
    assert named == [[1], [1, 2]]
    assert read(path_of(tmp_path, 2)) == 2.0


def test_the_same_step_may_be_saved_again(tmp_path: Path) -> None:
    saver = Saver(tmp_path, World())
    for value in (1.0, 2.0):
        saver.begin(state(value), Facts(Position(1)))
    saver.finish()
    assert read(path_of(tmp_path, 1)) == 2.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.ckpt-1"]


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata.tmp", ".state.json.draft"])
def test_no_room_for_a_checkpoint(tmp_path: Path, file: str) -> None:
    """A full disk under each file of a save: torch said `unexpected pos 704 vs 598`, and named none."""
    staging = tmp_path / "model.ckpt-1.saving"
    staging.mkdir()
    (staging / file).symlink_to("/dev/full")
    saver = Saver(tmp_path, World())
    saver.begin(state(1.0), Facts(Position(1)))
    named = "state.json" if "state" in file else file
    line = rf"model\.ckpt-1: cannot be saved \(\S+\.saving/{re.escape(named)}: No space left on device; make"
    with pytest.raises(UserError, match=line):
        saver.finish()
    assert list(tmp_path.iterdir()) == []


def test_what_fails_in_the_background_is_said_at_a_step(tmp_path: Path) -> None:
    saver = Saver(tmp_path, World())
    saver.begin(state(1.0), Facts(Position(1)))
    saver.finish()
    (tmp_path / "model.ckpt-2.saving").write_text("in the way")
    saver.begin(state(2.0), Facts(Position(2)))
    saver.flight.thread.join()
    for ask in (saver.check, saver.finish):
        with pytest.raises(UserError, match=r"model\.ckpt-2: cannot be saved \(.*older checkpoints are"):
            ask()
    assert read(path_of(tmp_path, 1)) == 1.0


def test_a_hundred_kills(tmp_path: Path) -> None:
    """Two ranks that save without a pause are killed, one or both: the newest checkpoint always loads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_writers", str(tmp_path / "model"), "100"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("100 rounds")


def test_a_save_that_never_ends_is_not_waited_for_without_end(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a run waited for a disk that does not answer, whatever TZREC_PATIENCE said."""
    monkeypatch.setenv("TZREC_PATIENCE", "0.3")
    saver = Saver(tmp_path, World())
    saver.begin(state(1.0), Facts(Position(5)))
    with pytest.raises(UserError, match=r"model\.ckpt-5: is not saved after 0\.3 s \(TZREC_PATIENCE\)"):
        saver.finish()
    gate.set()
    saver.flight.thread.join()


def test_a_save_has_checksums_of_all_its_files(tmp_path: Path) -> None:
    saver = Saver(tmp_path, World())
    saver.begin(state(1.0), Facts(Position(5)))
    saver.add_metrics({"mrr": 0.5})
    saver.finish()
    folder = path_of(tmp_path, 5)
    assert sorted([*read_facts(folder).files, "state.json"]) == sorted(file.name for file in folder.iterdir())
    assert check_files(folder) == ""
