"""From a checkpoint to two towers."""

from pathlib import Path

import torch

from tzrec.features.build import build_features
from tzrec.features.feature import Feature, IdFeature
from tzrec.models.build import build_model, tower_features
from tzrec.models.dssm import DSSM
from tzrec.modules.embedding import module_name
from tzrec.modules.mlp import Tower
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.serving.tower import ServingTower
from tzrec.training.checkpoint import load


def load_model(pipeline: EasyRecConfig, checkpoint: Path) -> DSSM:
    """The whole model of a checkpoint in this process, without a process group.

    Raises:
        UserError: a checkpoint that does not fit the configuration.
    """
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    model = build_model(pipeline, tower_features(pipeline, features), table_device="meta")
    # Everything is overwritten: no time is spent on initial values of large tables.
    model.to_empty(device=torch.device("cpu"))
    state = model.state_dict()
    load(checkpoint, {"model": state}, alone=True)
    model.load_state_dict(state)
    return model.eval()


def split(pipeline: EasyRecConfig, model: DSSM) -> dict[str, ServingTower]:
    """The serving towers of a model, "user" and "item"; they share its parameters."""
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    towers = tower_features(pipeline, features)
    weights = {
        name: bag.weight.detach()
        for collection in (model.embeddings.user, model.embeddings.item)
        if collection is not None
        for name, bag in collection.embedding_bags.items()
    }

    def serving(chosen: list[Feature], tower: Tower, output: str) -> ServingTower:
        tables = {
            f.table.name: weights[module_name(f.table.name)] for f in chosen if isinstance(f, IdFeature)
        }
        return ServingTower(chosen, tables, tower, output)

    return {
        "user": serving(towers.user, model.user_tower, "user_tower_emb"),
        "item": serving(towers.item, model.item_tower, "item_tower_emb"),
    }
