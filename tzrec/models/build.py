"""The border: a model configuration becomes a model with plain arguments."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tzrec.datasets.batch import Layout
from tzrec.datasets.candidates import InBatch
from tzrec.features.feature import Feature
from tzrec.models.dssm import DSSM
from tzrec.modules.embedding import TwoSidedEmbedding
from tzrec.modules.mlp import Stack, Tower
from tzrec.protos import module_pb2, pipeline_pb2, simi_pb2, tower_pb2
from tzrec.runtime.errors import UserError


@dataclass(frozen=True)
class TwoTowers:
    """The features of each tower, in the order of its feature group."""

    user: list[Feature]
    item: list[Feature]

    @property
    def layout(self) -> Layout:
        return Layout.of(self.user, self.item)


def tower_features(pipeline: pipeline_pb2.EasyRecConfig, features: Sequence[Feature]) -> TwoTowers:
    """The features that the two towers of a validated configuration read."""
    model = pipeline.model_config.dssm
    groups = {group.group_name: group.feature_names for group in pipeline.model_config.feature_groups}
    by_name = {feature.name: feature for feature in features}

    def of(tower: tower_pb2.Tower) -> list[Feature]:
        return [by_name[name] for name in groups[tower.input]]

    return TwoTowers(of(model.user_tower), of(model.item_tower))


def in_batch_options(pipeline: pipeline_pb2.EasyRecConfig) -> InBatch:
    """What the model of a validated configuration makes of the items of the other rows."""
    model = pipeline.model_config.dssm
    return InBatch(model.in_batch_negative, model.mask_accidental_hits, model.logq_correction)


def build_model(
    pipeline: pipeline_pb2.EasyRecConfig, towers: TwoTowers, table_device: torch.device | str = "cpu"
) -> DSSM:
    """The model of a validated configuration.

    Args:
        pipeline: the configuration.
        towers: the features of each tower.
        table_device: where embedding tables are made; "meta" when sharding will make them.

    Raises:
        UserError: no negatives, or an activation or init_fn that torch lacks.
    """
    config = pipeline.model_config.dssm
    sampled = pipeline.data_config.WhichOneof("sampler") is not None
    if not sampled and not config.in_batch_negative:
        raise UserError(
            "model_config.dssm: no negatives: give data_config a sampler, such as negative_sampler, "
            "or set in_batch_negative: true"
        )
    embeddings = TwoSidedEmbedding(
        towers.layout,
        [feature.name for feature in towers.user],
        [feature.name for feature in towers.item],
        torch.device(table_device),
    )

    def tower(config_of: tower_pb2.Tower, features: Sequence[Feature]) -> Tower:
        stack = _stack(config_of.mlp) if config_of.HasField("mlp") else None
        width = sum(feature.width for feature in features)
        return Tower(width, stack, config.output_dim, config.similarity == simi_pb2.COSINE)

    return DSSM(
        embeddings,
        tower(config.user_tower, towers.user),
        tower(config.item_tower, towers.item),
        config.temperature,
        config.in_batch_negative,
    )


def _stack(config: module_pb2.MLP) -> Stack:
    return Stack(
        hidden=list(config.hidden_units),
        activation=config.activation,
        batch_norm=config.use_bn,
        layer_norm=config.use_ln,
        bias=config.bias,
        dropout=list(config.dropout_ratio),
    )
