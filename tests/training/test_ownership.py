"""Two runs in one model_dir replaced each other's checkpoints: the second one is refused at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small import Running, Small, command
from tzrec.runtime.errors import UserError
from tzrec.runtime.lock import Lock
from tzrec.runtime.world import World
from tzrec.training import ownership
from tzrec.training.checkpoint import remove_cut_off, steps_in

HOLD = """
import sys, time
from pathlib import Path
from tzrec.runtime.world import World
from tzrec.training.ownership import only_run_in
with only_run_in(Path(sys.argv[1]), World()):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_run_is_refused_and_one_after_a_kill_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "DYING", 0.2)
    folder = tmp_path / "a" / "model"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        refused = pytest.raises(UserError, match=rf"model: process {holder.pid} on .* trains into it; wait")
        with refused, ownership.only_run_in(folder, World()):
            raise AssertionError
        # The other ranks ask nobody.
        with ownership.only_run_in(folder, World(rank=1, size=2)) as alone:
            assert not alone
        holder.send_signal(signal.SIGKILL)
    with ownership.only_run_in(folder, World()) as alone:
        assert alone
        assert [entry.name for entry in folder.iterdir()] == [ownership.LOCK]
    assert list(folder.iterdir()) == []


def test_a_folder_that_was_made_for_nothing_goes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wrong"), ownership.only_run_in(tmp_path / "a" / "b", World()):
        raise UserError("wrong")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(UserError, match="is no folder"), ownership.only_run_in(path, World()):
            raise AssertionError


def test_what_may_be_another_run_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the file system cannot lock."""
    (tmp_path / "model.ckpt-6.saving").mkdir()
    remove_cut_off(tmp_path, World(), ours=False)
    assert "cannot lock; if no other run is under way there, remove model.ckpt-6.saving" in (
        capsys.readouterr().out
    )
    remove_cut_off(tmp_path, World())
    assert list(tmp_path.iterdir()) == []


def test_training_twice_at_a_time(small: Small, tmp_path: Path) -> None:
    words = ("tzrec.train_eval", "--pipeline_config_path", small.config, "--continue_train")
    edit = ("--edit_config_json", '{"train_config.num_steps": 1000000}')
    running = Running(tmp_path / "a", *words, *edit)
    try:
        running.until("saved ")
        before = time.monotonic()
        done = command(*words)
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert f"{small.model}: process {running.process.pid} on " in line
        assert "(tzrec.train_eval, since " in line
        assert time.monotonic() - before < 30
    finally:
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    last = steps_in(small.model)[-1]
    done = command(*words, "--edit_config_json", f'{{"train_config.num_steps": {last + 1}}}')
    assert done.returncode == 0, done.stderr
    assert f"going on from {small.model}/model.ckpt-{last}" in done.stdout
    assert not Lock(small.model / ownership.LOCK).path.exists()
