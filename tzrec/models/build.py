"""The border: a model configuration becomes a model with plain arguments."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tzrec.datasets.batch import Layout
from tzrec.datasets.candidates import InBatch
from tzrec.features.feature import Feature
from tzrec.models.dssm import DSSM
from tzrec.modules.build import build_group, build_stack
from tzrec.modules.embedding import TwoSidedEmbedding
from tzrec.modules.group import Group
from tzrec.modules.mlp import Tower
from tzrec.protos import pipeline_pb2, simi_pb2, tower_pb2
from tzrec.runtime.errors import UserError


@dataclass(frozen=True)
class TwoTowers:
    """What each tower reads."""

    user_group: Group
    item_group: Group

    @property
    def user(self) -> list[Feature]:
        """The features of the user tower."""
        return self.user_group.features

    @property
    def item(self) -> list[Feature]:
        """The features of the item tower."""
        return self.item_group.features

    @property
    def layout(self) -> Layout:
        user, item = self.user_group, self.item_group
        return Layout.of(user.all_parts, item.all_parts, [*user.aligned, *item.aligned])


def tower_features(pipeline: pipeline_pb2.EasyRecConfig, features: Sequence[Feature]) -> TwoTowers:
    """The features that the two towers of a validated configuration read."""
    config = pipeline.model_config
    groups = {group.group_name: group for group in config.feature_groups}
    by_name = {feature.name: feature for feature in features}
    dropout = config.variational_dropout if config.HasField("variational_dropout") else None

    def of(tower: tower_pb2.Tower) -> Group:
        return build_group(groups[tower.input], by_name, dropout)

    return TwoTowers(of(config.dssm.user_tower), of(config.dssm.item_tower))


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
        UserError: no negatives, towers of two widths, or an activation or init_fn that torch lacks.
    """
    config = pipeline.model_config.dssm
    sampled = pipeline.data_config.WhichOneof("sampler") is not None
    if not sampled and not config.in_batch_negative:
        raise UserError(
            "model_config.dssm: no negatives: give data_config a sampler, such as negative_sampler, "
            "or set in_batch_negative: true"
        )
    embeddings = TwoSidedEmbedding(
        towers.layout, towers.user_group, towers.item_group, torch.device(table_device)
    )

    def tower(config_of: tower_pb2.Tower, width: int) -> Tower:
        stack = build_stack(config_of.mlp) if config_of.HasField("mlp") else None
        return Tower(width, stack, config.output_dim, config.similarity == simi_pb2.COSINE)

    user = tower(config.user_tower, embeddings.user.out_features)
    item = tower(config.item_tower, embeddings.item.out_features)
    if user.out_features != item.out_features:
        raise UserError(
            f"model_config.dssm: without output_dim the vectors of user_tower have {user.out_features} "
            f"numbers and those of item_tower {item.out_features}; set output_dim, or make them equal"
        )
    return DSSM(
        embeddings,
        user,
        item,
        config.temperature,
        config.in_batch_negative,
    )
