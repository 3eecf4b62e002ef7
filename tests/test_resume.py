"""Stopping and going on: exact continuation, other world sizes."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.small import Small, command, losses, make_small
from tzrec.config import prepare
from tzrec.runtime.errors import UserError
from tzrec.serving.split import load_model
from tzrec.training.checkpoint import find, newest, path_of, read_facts, write_facts

NOISY = {
    "train_config.log_step_count_steps": 1,
    "data_config.shuffle": True,
    "model_config.dssm.user_tower.mlp": "{ hidden_units: [16] use_bn: true dropout_ratio: 0.3 }",
}


def weights(small: Small, step: int, edits: dict | None = None) -> dict[str, torch.Tensor]:
    pipeline = prepare(str(small.model / "pipeline.config"), edits=json.dumps(edits or {})).message
    return load_model(pipeline, path_of(small.model, step)).state_dict()


def test_going_on_gives_the_weights_of_a_run_that_was_not_stopped(tmp_path: Path) -> None:
    """Also holds that the state of both optimizers and the place in the pass were restored."""
    whole = make_small(tmp_path / "whole")
    done = command("tzrec.train_eval", "--pipeline_config_path", whole.config)
    assert done.returncode == 0, done.stderr
    halved = Small(tmp_path / "halved")
    shutil.copytree(whole.root, halved.root)
    halved.config.write_text(halved.config.read_text().replace(str(whole.root), str(halved.root)))
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


def test_a_stop_changes_nothing(tmp_path: Path) -> None:
    """SIGTERM to one of two ranks, twice: then the losses are those of a run that was never stopped.

    With dropout, batch normalisation and shuffled rows, over the end of a pass.
    """
    words = ("--continue_train", "--edit_config_json", json.dumps(NOISY))
    whole, halved = make_small(tmp_path / "whole", rows=1500), make_small(tmp_path / "halved", rows=1500)
    done = command("tzrec.train_eval", "--pipeline_config_path", whole.config, *words, processes=2)
    assert done.returncode == 0, done.stderr
    expected = losses(done.stdout)
    assert sorted(expected) == list(range(1, 17))
    found: dict[int, str] = {}
    for rank, step in ((1, 3), (0, 9)):
        done = command(
            *("tests.faulty", "--pipeline_config_path", halved.config, *words),
            processes=2,
            FAULT=json.dumps({"rank": rank, "step": step, "do": "SIGTERM"}),
        )
        assert done.returncode == 0, done.stderr
        # The votes of a step are counted at the next one.
        assert (
            f"stopped by SIGTERM at step {step + 1} of 16, checkpoint {path_of(halved.model, step + 1)}; "
            "the same command with --continue_train goes on from it"
        ) in done.stdout
        assert newest(halved.model) == path_of(halved.model, step + 1)
        found |= losses(done.stdout)
    done = command("tzrec.train_eval", "--pipeline_config_path", halved.config, *words, processes=2)
    assert done.returncode == 0, done.stderr
    assert "at step 10" in done.stdout
    found |= losses(done.stdout)
    assert found == expected
    for name, value in weights(halved, 16).items():
        if "running" not in name:  # Averaged over ranks at each save: the same up to rounding.
            torch.testing.assert_close(value, weights(whole, 16)[name], rtol=0, atol=0)
        else:
            torch.testing.assert_close(value, weights(whole, 16)[name])


def test_two_processes_go_on_as_one(tmp_path: Path) -> None:
    """The pass goes on with the rows that are left, and ends after the last of them."""
    small = make_small(tmp_path)
    edits = {"train_config.num_steps": 5, "data_config.shuffle": True}
    words = ("--pipeline_config_path", small.config, "--continue_train", "--edit_config_json")
    done = command("tzrec.train_eval", *words, json.dumps(edits), processes=2)
    assert done.returncode == 0, done.stderr
    edits |= {"train_config.num_steps": None, "train_config.num_epochs": 1}
    done = command("tzrec.train_eval", *words, json.dumps(edits))
    assert done.returncode == 0, done.stderr
    # 3000 rows, of which 5 steps took 2 x 100 each; then 20 steps of 100 rows.
    assert "at step 5" in done.stdout
    assert "embedding tables: cate_emb, items, user_id_emb table_wise on rank 0\n" in done.stdout
    assert "done: 20 steps, 2000 rows" in done.stdout
    position = read_facts(path_of(small.model, 25)).position
    assert (position.step, position.epoch, position.epoch_step) == (25, 1, 0)


def test_a_folder_that_was_cut_off_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt-9.saving").mkdir()
    assert newest(tmp_path) is None
    # This one lost its files after it had its name: it is not passed over without a word.
    (tmp_path / "model.ckpt-7").mkdir()
    with pytest.raises(UserError, match=r"model\.ckpt-7/state\.json: is missing"):
        find(tmp_path, None)


def test_going_on_where_nothing_is_left_to_do(trained: Small, tmp_path: Path) -> None:
    small = Small(tmp_path / "copy")
    shutil.copytree(trained.root, small.root)
    before = path_of(small.model, 16).stat().st_mtime_ns
    words = ("--pipeline_config_path", small.config, "--model_dir", small.model, "--continue_train")
    done = command("tzrec.train_eval", *words)
    assert done.returncode == 0, done.stderr
    assert "done: 0 steps" in done.stdout
    assert path_of(small.model, 16).stat().st_mtime_ns == before


def test_an_evaluation_that_was_killed_is_made_up_for(small: Small, tmp_path: Path) -> None:
    """A checkpoint whose evaluation was cut off was never evaluated, and so never chosen as best."""
    words = ("--pipeline_config_path", small.config, "--continue_train")
    edits = {"train_config.num_steps": 8}
    done = command("tzrec.train_eval", *words, "--edit_config_json", json.dumps(edits))
    assert done.returncode == 0, done.stderr
    folder = path_of(small.model, 8)
    facts = read_facts(folder)
    expected, facts.metrics = facts.metrics, {}
    write_facts(folder, facts)
    # Nothing is left to train: the run evaluates and ends.
    done = command("tzrec.train_eval", *words, "--edit_config_json", json.dumps(edits))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("evaluation at step 8 | ") == 1
    assert read_facts(folder).metrics == expected
    # It has been evaluated: the next run has nothing to make up for.
    done = command("tzrec.train_eval", *words, "--edit_config_json", json.dumps(edits))
    assert "evaluation at" not in done.stdout
