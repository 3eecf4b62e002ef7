"""The border: feature group configurations become groups with plain arguments."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tzrec.datasets.batch import Lookup, Part
from tzrec.features.feature import Feature, RawFeature
from tzrec.modules.group import Encoder, Group, SequenceGroup
from tzrec.modules.mlp import Stack
from tzrec.modules.sequence import (
    DINEncoder,
    MultiWindowDINEncoder,
    PoolingEncoder,
    SelfAttentionEncoder,
    SimpleAttention,
)
from tzrec.protos.model_pb2 import FeatureGroupConfig
from tzrec.protos.module_pb2 import MLP, VariationalDropout


def build_stack(config: MLP) -> Stack:
    """The shape of a perceptron."""
    return Stack(
        hidden=list(config.hidden_units),
        activation=config.activation,
        batch_norm=config.use_bn,
        layer_norm=config.use_ln,
        bias=config.bias,
        dropout=list(config.dropout_ratio),
    )


def build_group(
    config: FeatureGroupConfig, features: Mapping[str, Feature], dropout: VariationalDropout | None = None
) -> Group:
    """A feature group of a validated configuration.

    Args:
        config: of the group.
        features: all features, by name.
        dropout: of the model; None for none.
    """
    suffix = config.embedding_name_suffix

    def part(name: str, its_suffix: str) -> Part:
        feature = features[name]
        if isinstance(feature, RawFeature):
            return feature
        return Lookup(feature, replace(feature.table, name=feature.table.name + its_suffix))

    sequences = []
    for inner in config.sequence_groups:
        own = inner.embedding_name_suffix or suffix
        parts = [part(name, own) for name in inner.feature_names]
        pairs = list(zip(parts, (features[name].is_sequence for name in inner.feature_names), strict=True))
        sequences.append(
            SequenceGroup(
                inner.group_name,
                tuple(one for one, is_sequence in pairs if is_sequence),
                tuple(one for one, is_sequence in pairs if not is_sequence),
            )
        )
    return Group(
        name=config.group_name,
        parts=tuple(part(name, suffix) for name in config.feature_names),
        sequences=tuple(sequences),
        encoders=tuple(_encoder(one) for one in config.sequence_encoders),
        dropout=(dropout.regularization_lambda, dropout.embedding_wise_variational_dropout)
        if dropout
        else None,
    )


def _encoder(config: Any) -> Encoder:
    kind = config.WhichOneof("seq_module")
    one = getattr(config, kind)
    if kind == "din_encoder":
        stack = build_stack(one.attn_mlp)
        return Encoder(one.input, lambda width, query: DINEncoder(width, query, stack, one.max_seq_length))
    if kind == "simple_attention":
        return Encoder(one.input, lambda width, query: SimpleAttention(width, query, one.max_seq_length))
    if kind == "pooling_encoder":
        mean = one.pooling_type == "mean"
        return Encoder(one.input, lambda width, query: PoolingEncoder(width, mean, one.max_seq_length))
    if kind == "multi_window_din_encoder":
        stack, windows = build_stack(one.attn_mlp), list(one.windows_len)
        return Encoder(one.input, lambda width, query: MultiWindowDINEncoder(width, query, stack, windows))
    return Encoder(
        one.input,
        lambda width, query: SelfAttentionEncoder(
            width, one.multihead_attn_dim, one.num_heads, one.dropout, one.max_seq_length
        ),
    )
