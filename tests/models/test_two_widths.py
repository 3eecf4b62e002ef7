"""Towers without a last layer: as wide as what they read, which must be alike."""

from pathlib import Path

import pytest

from tests.small import make_small
from tzrec.config import prepare
from tzrec.features.build import build_features
from tzrec.models.build import build_model, tower_features
from tzrec.runtime.errors import UserError


def test_towers_of_two_widths_are_told(tmp_path: Path) -> None:
    """`output_dim: 0` and towers of 17 and 12 numbers ended in a mismatch of tensors at the first step."""
    pipeline = prepare(str(make_small(tmp_path / "small", rows=60).config)).message
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    dssm = pipeline.model_config.dssm
    dssm.output_dim = 0
    build_model(pipeline, tower_features(pipeline, features))
    dssm.user_tower.ClearField("mlp")
    with pytest.raises(UserError, match="user_tower have 17 numbers and those of item_tower 16; set"):
        build_model(pipeline, tower_features(pipeline, features))
    dssm.item_tower.ClearField("mlp")
    with pytest.raises(UserError, match="user_tower have 17 numbers and those of item_tower 12; set"):
        build_model(pipeline, tower_features(pipeline, features))
