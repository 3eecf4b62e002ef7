"""Stopping and going on: exact continuation, other world sizes, SIGKILL at any moment."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.small import Small, command, make_small
from tzrec.config import prepare
from tzrec.serving.split import load_model
from tzrec.training.checkpoint import newest, path_of, read_facts, steps_in


def weights(small: Small, step: int) -> dict[str, torch.Tensor]:
    pipeline = prepare(str(small.model / "pipeline.config")).message
    return load_model(pipeline, path_of(small.model, step)).state_dict()


def test_going_on_gives_the_weights_of_a_run_that_was_not_stopped(tmp_path: Path) -> None:
    """Also holds that the state of both optimizers and the place in the pass were restored."""
    whole, halved = make_small(tmp_path / "whole"), make_small(tmp_path / "halved")
    for small in (whole, halved):
        done = command("tzrec.train_eval", "--pipeline_config_path", small.config)
        assert done.returncode == 0, done.stderr
    expected = weights(whole, 16)
    shutil.rmtree(path_of(halved.model, 16))
    done = command("tzrec.train_eval", "--pipeline_config_path", halved.config, "--continue_train")
    assert done.returncode == 0, done.stderr
    assert "at step 8" in done.stdout
    for name, found in weights(halved, 16).items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=0)
    shutil.rmtree(path_of(halved.model, 16))
    words = ("--continue_train", "--ignore_restore_optimizer")
    assert command("tzrec.train_eval", "--pipeline_config_path", halved.config, *words).returncode == 0
    forgetful = weights(halved, 16)
    assert any(not torch.equal(forgetful[name], expected[name]) for name in expected)


def test_two_processes_go_on_as_one(trained: Small, tmp_path: Path) -> None:
    small = Small(tmp_path / "copy")
    shutil.copytree(trained.root, small.root)
    shutil.rmtree(path_of(small.model, 16))
    done = command(
        "tzrec.train_eval",
        "--pipeline_config_path",
        small.config,
        "--model_dir",
        small.model,
        "--continue_train",
    )
    assert done.returncode == 0, done.stderr
    # 8 steps of 2 x 100 rows are 16 steps of 100 rows.
    facts = read_facts(path_of(small.model, 16))
    assert (facts.position.step, facts.position.epoch_step, facts.position.world) == (16, 24, 1)


def test_sigkill_at_any_moment(small: Small) -> None:
    words = [
        *(sys.executable, "-m", "tzrec.train_eval", "--pipeline_config_path", str(small.config)),
        "--continue_train",
        *(
            "--edit_config_json",
            json.dumps({"train_config.num_steps": 60, "train_config.save_checkpoints_steps": 2}),
        ),
    ]
    moments = random.Random(5)
    for _ in range(4):
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("training on") or running.poll() is not None:
                break
        time.sleep(moments.uniform(0, 1.0))
        os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        found = newest(small.model)
        if found is not None:
            assert read_facts(found).position.step == int(found.name.split("-")[-1])
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert steps_in(small.model)[-1] == 60
    assert not list(small.model.glob("*.saving"))


def test_a_folder_that_was_cut_off_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt-9.saving").mkdir()
    (tmp_path / "model.ckpt-7").mkdir()
    assert newest(tmp_path) is None


def test_going_on_where_nothing_is_left_to_do(trained: Small, tmp_path: Path) -> None:
    small = Small(tmp_path / "copy")
    shutil.copytree(trained.root, small.root)
    before = path_of(small.model, 16).stat().st_mtime_ns
    words = ("--pipeline_config_path", small.config, "--model_dir", small.model, "--continue_train")
    done = command("tzrec.train_eval", *words)
    assert done.returncode == 0, done.stderr
    assert "done: 0 steps" in done.stdout
    assert path_of(small.model, 16).stat().st_mtime_ns == before
