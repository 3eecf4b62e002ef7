"""The moving average of the dense parameters: its numbers, and who computes with it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.small import Small, command, make_small
from tests.test_resume import weights
from tzrec.config import prepare
from tzrec.runtime.errors import UserError
from tzrec.serving.split import load_model
from tzrec.training.average import Average
from tzrec.training.checkpoint import path_of


def test_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        average = Average(layer, 0.75)
        for value in (2.0, 4.0):
            layer.weight.fill_(value)
            average.update()
    # 0.75 x 1 + 0.25 x 2 = 1.25; 0.75 x 1.25 + 0.25 x 4 = 1.9375
    assert average.tensors["weight"].item() == 1.9375
    with average.in_place():
        assert layer(torch.ones(1)).item() == 1.9375
    assert layer.weight.item() == 4
    assert average.tensors["weight"].item() == 1.9375
    average.begin()
    assert average.tensors["weight"].item() == 4


def results(small: Small, name: str) -> list[dict]:
    return [json.loads(line) for line in (small.model / name).read_text().splitlines()]


def test_evaluation_and_export_by_the_average(tmp_path: Path) -> None:
    """The average of decay 0 is the parameters; that of 0.99 is far behind them after 16 steps."""
    small = make_small(tmp_path)
    words = ("--pipeline_config_path", small.config, "--edit_config_json")
    edits: dict = {"train_config.dense_optimizer.ema": "{ decay: 0.99 }", "eval_config.use_dense_ema": True}
    done = command("tzrec.train_eval", *words, json.dumps(edits))
    assert done.returncode == 0, done.stderr
    live, average = weights(small, 16), weights(small, 16, {"export_config.use_dense_ema": True})
    for name, value in live.items():
        assert torch.equal(value, average[name]) == ("table_" in name)
    saved = ("--pipeline_config_path", small.model / "pipeline.config")
    done = command("tzrec.eval", *saved)
    assert done.returncode == 0, done.stderr
    config = small.model / "pipeline.config"
    without = tmp_path / "without.config"
    without.write_text(config.read_text().replace("use_dense_ema: true", "use_dense_ema: false"))
    done = command("tzrec.eval", "--pipeline_config_path", without)
    assert done.returncode == 0, done.stderr
    while_training = results(small, "train_eval_result.txt")[-1]
    by_average, by_parameters = results(small, "eval_result.txt")
    assert by_average["loss"] == pytest.approx(while_training["loss"], rel=1e-5)
    assert abs(by_parameters["loss"] - by_average["loss"]) > 1e-3


def test_a_checkpoint_without_average(trained: Small, tmp_path: Path) -> None:
    """Going on begins one at its parameters and says so; nobody exports or evaluates what is not there."""
    edits: dict = {"train_config.dense_optimizer.ema": "{}", "export_config.use_dense_ema": True}
    pipeline = prepare(str(trained.config), edits=json.dumps(edits)).message
    with pytest.raises(
        UserError, match=r"model\.ckpt-16: has no moving average, which use_dense_ema asks for"
    ):
        load_model(pipeline, path_of(trained.model, 16))
    small = Small(tmp_path / "copy")
    shutil.copytree(trained.root, small.root)
    words = ("--model_dir", small.model, "--continue_train", "--edit_config_json", json.dumps(edits))
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, *words)
    assert done.returncode == 0, done.stderr
    assert "it has no moving average, which begins at its parameters" in done.stdout
