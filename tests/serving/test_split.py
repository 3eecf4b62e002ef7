"""From a checkpoint to towers: what no checkpoint holds stays as the model was made."""

from pathlib import Path

import torch

from tests.small import make_small
from tzrec.config import prepare
from tzrec.features.build import build_features
from tzrec.models.build import build_model, tower_features
from tzrec.serving import split


def test_variational_dropout_is_exported_whole(tmp_path: Path, monkeypatch) -> None:
    """Which feature a number belongs to is no parameter: exported towers read what nothing had filled.

    Predict then ended in "index out of range", or scaled numbers by the rates of other features.
    """
    config = make_small(tmp_path / "small", rows=100).config
    config.write_text(config.read_text().replace("losses {", "variational_dropout {} losses {"))
    pipeline = prepare(str(config)).message
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    made = build_model(pipeline, tower_features(pipeline, features))

    def load(checkpoint: Path, state: dict, alone: bool) -> None:
        for name, tensor in state["model"].items():
            tensor.copy_(made.state_dict()[name])

    monkeypatch.setattr(split, "load", load)
    monkeypatch.setattr(split, "check_files", lambda checkpoint, alone: "")
    monkeypatch.setattr(torch, "empty_like", lambda like, **options: torch.full_like(like, 77, **options))
    found = dict(split.load_model(pipeline, tmp_path).named_buffers())
    assert [name for name in found if name.endswith("dropout.owner")]
    for name, buffer in made.named_buffers():
        assert torch.equal(found[name], buffer), name
