"""From a checkpoint to two towers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchrec import EmbeddingBagCollection

from tzrec.datasets.batch import Lookup
from tzrec.features.build import build_features
from tzrec.models.build import build_model, tower_features
from tzrec.models.dssm import DSSM
from tzrec.modules.embedding import module_name
from tzrec.modules.group import GroupInput
from tzrec.modules.mlp import Tower, use_precision
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.progress import say
from tzrec.runtime.world import World
from tzrec.serving.tower import ServingTower
from tzrec.training.build import PRECISION
from tzrec.training.checkpoints.checks import check_files
from tzrec.training.checkpoints.reader import load
from tzrec.training.state import load_average


def load_model(pipeline: EasyRecConfig, checkpoint: Path) -> DSSM:
    """The whole model of a checkpoint in this process, without a process group.

    Raises:
        UserError: a checkpoint that does not fit the configuration.
        DamagedError: a file of it is missing or is not what was written.
    """
    if unchecked := check_files(checkpoint, alone=True):
        say(World(), f"{checkpoint}{unchecked}")
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    model = build_model(pipeline, tower_features(pipeline, features), table_device="meta")
    # No time is spent on initial values of large tables: all of them are overwritten. Not the whole model:
    # a buffer that no checkpoint holds, such as that of the variational dropout, would be lost.
    model.embeddings.tables.to_empty(device=torch.device("cpu"))
    state = model.state_dict()
    load(checkpoint, {"model": state}, alone=True)
    if pipeline.export_config.use_dense_ema:
        load_average(checkpoint, state, alone=True)
    model.load_state_dict(state)
    if precision := PRECISION[pipeline.export_config.mixed_precision]:
        for tower in (model.user_tower, model.item_tower):
            use_precision(tower, precision)
    return model.eval()


def split(model: DSSM) -> dict[str, ServingTower]:
    """The serving towers of a model, "user" and "item"; they share its parameters."""
    weights: dict[str, Tensor] = {}
    collections: Iterable[Any] = model.embeddings.tables.values()
    for tables in collections:
        is_pooled = isinstance(tables, EmbeddingBagCollection)
        inside = tables.embedding_bags if is_pooled else tables.embeddings
        weights |= {name: table.weight.detach() for name, table in inside.items()}

    def serving(group: GroupInput, tower: Tower, output: str) -> ServingTower:
        tables = {part.table.name: part.table for part in group.group.all_parts if isinstance(part, Lookup)}
        # Without the columns that only fill a row up to a multiple of four.
        own = {name: weights[module_name(name)][:, : table.dim] for name, table in tables.items()}
        return ServingTower(group, {name: weight.contiguous() for name, weight in own.items()}, tower, output)

    return {
        "user": serving(model.embeddings.user, model.user_tower, "user_tower_emb"),
        "item": serving(model.embeddings.item, model.item_tower, "item_tower_emb"),
    }
