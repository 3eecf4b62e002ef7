"""What goes wrong around training: ranks that die or hang, signals, disks; and what is said of it."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import mounted
from tests.small import Running, Small, command
from tzrec.training.checkpoint import path_of, read_facts, steps_in


def faulty(small: Small, fault: dict[str, object], *words: str, **options):
    return command(
        *("tests.faulty", "--pipeline_config_path", small.config, *words),
        **{"processes": 2, **options},
        FAULT=json.dumps(fault),
    )


def tail(stderr: str) -> str:
    """The end of torchrun's report: the first failure it saw."""
    return stderr.rpartition("Root Cause (first observed failure):")[2]


def own_errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("tzrec.train_eval: error:")]


def test_a_rank_that_is_killed_ends_the_job_and_a_restart_goes_on(small: Small) -> None:
    """--max-restarts: torchrun starts both again, and they go on from the last checkpoint."""
    fault = {"rank": 1, "step": 10, "do": "SIGKILL"}
    launcher = ("--standalone", "--max-restarts=1")
    done = faulty(small, fault, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert f"going on from {path_of(small.model, 8)} at step 8" in done.stdout
    assert "done: 8 steps" in done.stdout
    assert steps_in(small.model) == [8, 16]


def test_a_rank_that_is_killed_is_named_as_the_cause(small: Small) -> None:
    started = time.monotonic()
    done = faulty(small, {"rank": 1, "step": 10, "do": "SIGKILL"})
    assert time.monotonic() - started < 90
    assert done.returncode != 0
    assert "rank      : 1" in tail(done.stderr)
    assert "Signal 9 (SIGKILL)" in tail(done.stderr)
    (line,) = own_errors(done.stderr)
    assert "another process of this job has ended" in line
    assert "Traceback" not in done.stderr.split("ChildFailedError")[0].split("Traceback (most recent", 1)[0]
    assert steps_in(small.model) == [8]


def test_all_processes_killed_at_any_moment(small: Small, tmp_path: Path) -> None:
    """The ranks with the launcher; then the launcher alone, which does not leave the ranks behind."""
    edits = {
        "train_config.num_steps": 1000000,
        "train_config.save_checkpoints_steps": 2,
        "train_config.keep_checkpoint_max": 3,
    }
    words = ("--pipeline_config_path", small.config, "--continue_train", "--edit_config_json")
    running = Running(tmp_path / "a", "tzrec.train_eval", *words, json.dumps(edits), processes=2)
    running.until("| epoch")
    time.sleep(random.Random(5).uniform(0, 1.0))
    running.kill_all()
    for step in steps_in(small.model):
        assert read_facts(path_of(small.model, step)).position.step == step
    running = Running(tmp_path / "b", "tzrec.train_eval", *words, json.dumps(edits), processes=2)
    running.until("| epoch")
    os.kill(running.process.pid, signal.SIGKILL)
    running.end()
    running.until("stopped by SIGTERM at step")
    end = time.monotonic() + 60
    while running.processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert running.processes() == []
    last = steps_in(small.model)[-1]
    done = command("tzrec.train_eval", *words, json.dumps(edits | {"train_config.num_steps": last + 4}))
    assert done.returncode == 0, done.stderr
    assert steps_in(small.model)[-1] == last + 4
    assert not [entry for entry in small.model.iterdir() if entry.suffix in (".saving", ".removing")]


def test_a_rank_that_fails_is_the_only_one_to_speak(small: Small) -> None:
    done = faulty(small, {"rank": 1, "step": 10, "do": "raise"})
    assert done.returncode != 0
    assert own_errors(done.stderr) == []
    assert "RuntimeError: a fault of this rank" in tail(done.stderr)
    assert "rank      : 1" in tail(done.stderr)


def test_a_rank_that_hangs_ends_the_job(small: Small) -> None:
    done = faulty(small, {"rank": 1, "step": 10, "do": "hang"}, TZREC_PATIENCE="4")
    assert done.returncode != 0
    (line,) = own_errors(done.stderr)
    assert "another process has not answered for 4 s" in line
    assert steps_in(small.model) == [8]


def test_a_disk_that_is_full_on_one_rank(small: Small) -> None:
    done = faulty(small, {"rank": 1, "step": 10, "do": "full"})
    assert done.returncode != 0
    (line,) = own_errors(done.stderr)
    assert f"{path_of(small.model, 16)}: cannot be saved" in line
    assert "File too large" in line
    assert "older checkpoints are untouched" in line
    assert line in tail(done.stderr)
    assert [entry.name for entry in small.model.glob("model.ckpt-*")] == ["model.ckpt-8"]


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    with mounted(tmp_path / "disk", "2m") as folder:
        yield folder


def test_a_full_disk_and_one_that_cannot_be_written(small: Small, little_disk: Path) -> None:
    words = ("--pipeline_config_path", small.config, "--model_dir", little_disk, "--continue_train")
    done = command("tzrec.train_eval", *words, "--edit_config_json", '{"train_config.num_steps": 8}')
    assert done.returncode == 0, done.stderr
    facts = read_facts(path_of(little_disk, 8))
    free = shutil.disk_usage(little_disk).free
    (little_disk / "filling").write_bytes(b"x" * (free - 30_000))
    done = command("tzrec.train_eval", *words)
    assert done.returncode == 2, done.stderr
    (line,) = own_errors(done.stderr)
    assert f"{path_of(little_disk, 16)}: cannot be saved" in line
    assert "No space left on device" in line
    assert steps_in(little_disk) == [8]
    subprocess.run(["mount", "-o", "remount,ro", little_disk], check=True)
    done = command("tzrec.train_eval", *words)
    assert done.returncode == 2, done.stderr
    (line,) = own_errors(done.stderr)
    assert f"{little_disk} cannot be written into; give a folder that can" in line
    assert "Traceback" not in done.stderr
    assert read_facts(path_of(little_disk, 8)) == facts


def test_a_signal_to_the_launcher_and_ctrl_c(small: Small, tmp_path: Path) -> None:
    """torchrun passes a signal on; Ctrl-C reaches every process of the terminal at once, and saves too."""
    running = Running(
        *(tmp_path / "a", "tzrec.train_eval", "--pipeline_config_path", small.config),
        *("--edit_config_json", '{"train_config.num_steps": 1000000}'),
        processes=2,
    )
    running.until("step 4/")
    os.kill(running.process.pid, signal.SIGTERM)
    running.end()
    text = running.out.read_text()
    assert "stopped by SIGTERM at step" in text
    assert str(path_of(small.model, steps_in(small.model)[-1])) in text
    running = Running(
        *(tmp_path / "b", "tzrec.train_eval", "--pipeline_config_path", small.config, "--continue_train"),
        *("--edit_config_json", '{"train_config.num_steps": 1000000}'),
    )
    running.until("| epoch")
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end() == 130
    assert "stopped by SIGINT at step" in running.out.read_text()
    assert "Traceback" not in running.err.read_text()
