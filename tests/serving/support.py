"""An exported tower made without training, in this process, and ways to spoil its folder."""

from pathlib import Path

import torch

from tests.small import Small
from tzrec.config import prepare
from tzrec.features.build import build_features
from tzrec.models.build import build_model, tower_features
from tzrec.models.dssm import DSSM
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.serving.bundle import Bundle, write_bundle
from tzrec.serving.split import split

CPU = torch.device("cpu")


def fresh_model(config: Path, seed: int = 3) -> tuple[DSSM, EasyRecConfig]:
    """The model of a configuration as training begins it."""
    pipeline = prepare(str(config)).message
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    torch.manual_seed(seed)
    return build_model(pipeline, tower_features(pipeline, features)).eval(), pipeline


def export(config: Path, folder: Path, seed: int = 3, assets: tuple[Path, ...] = ()) -> Path:
    """Writes folder/user and folder/item as tzrec.export does."""
    model, pipeline = fresh_model(config, seed)
    for name, tower in split(model).items():
        write_bundle(folder / name, tower, pipeline, assets)
    return folder


def open_bundle(folder: Path) -> Bundle:
    return Bundle.open(str(folder), CPU)


def with_vocabulary(small: Small) -> Small:
    """Has the feature "cate" read its words from a file."""
    (small.root / "words.txt").write_text("".join(f"c{n}\n" for n in range(8)), encoding="utf-8")
    text = small.config.read_text(encoding="utf-8")
    listed = 'vocab_list: ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]'
    assert listed in text
    text = text.replace(listed, f'vocab_file: "{small.root}/words.txt" default_bucketize_value: 0')
    small.config.write_text(text, encoding="utf-8")
    return small
