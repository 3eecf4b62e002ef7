"""The border: feature configurations become features with plain arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tzrec.features.bucketize import Bucketizer, by_boundaries, by_hash, by_number, by_vocabulary
from tzrec.features.feature import Feature, IdFeature, RawFeature, Table
from tzrec.features.values import numbers, rows_of
from tzrec.protos import data_pb2
from tzrec.protos.data_pb2 import DataConfig
from tzrec.protos.feature_pb2 import FeatureConfig
from tzrec.runtime.errors import UserError


def build_features(configs: Sequence[FeatureConfig], data: DataConfig) -> list[Feature]:
    """The features of a validated configuration, in its order.

    Raises:
        UserError: a default value that its own bucketizer refuses.
    """
    kinds = {"id_feature": _id_feature, "raw_feature": _raw_feature}
    features = []
    for config in configs:
        kind = config.WhichOneof("feature")
        features.append(kinds[kind](getattr(config, kind), data))
    return features


def _column(config: Any, data: DataConfig) -> str:
    """The column that a feature of one input reads."""
    if data.fg_mode in (data_pb2.FG_NONE, data_pb2.FG_BUCKETIZE):
        return config.feature_name
    return config.expression.split(":", 1)[1]


def _separator(config: Any, data: DataConfig) -> str:
    return data.fg_encoded_multival_sep if data.fg_mode == data_pb2.FG_NONE else config.separator


def _default_text(config: Any, data: DataConfig) -> str:
    return config.fg_encoded_default_value if data.fg_mode == data_pb2.FG_NONE else config.default_value


def _default_ids(
    config: Any, data: DataConfig, bucketizer: Bucketizer, buckets: int, most: int
) -> np.ndarray:
    text = _default_text(config, data)
    where = f'feature "{config.feature_name}", default_value'
    flat = rows_of(pa.array([text]), _separator(config, data), where).flat
    ids = bucketizer(flat, where)
    if (ids < 0).any() or (ids >= buckets).any():
        raise UserError(f'{where}: "{text}" is outside the {buckets} buckets; give one inside or ""')
    return ids[:most] if most else ids


def _id_feature(config: Any, data: DataConfig) -> IdFeature:
    buckets, bucketizer, default_id = _id_buckets(config)
    if data.fg_mode == data_pb2.FG_NONE:
        bucketizer, default_id = by_number(buckets), None
    if default_id is not None and config.default_value:
        default = np.array([default_id], np.int64)
    else:
        default = _default_ids(config, data, bucketizer, buckets, config.value_dim)
    return IdFeature(
        name=config.feature_name,
        column=_column(config, data),
        table=_table(config, buckets),
        pooling=config.pooling,
        bucketizer=bucketizer,
        default=default,
        separator=_separator(config, data),
        most=config.value_dim,
    )


def _id_buckets(config: Any) -> tuple[int, Bucketizer, int | None]:
    """(buckets, bucketizer, the id that default_value has by decree)."""
    if config.HasField("num_buckets"):
        return config.num_buckets, by_number(config.num_buckets), None
    if config.HasField("hash_bucket_size"):
        return config.hash_bucket_size, by_hash(config.hash_bucket_size), None
    words = list(config.vocab_list)
    if config.HasField("default_bucketize_value"):
        unknown = config.default_bucketize_value
        return max(len(words), unknown + 1), by_vocabulary(words, 0, unknown), None
    # 0 is the default value, 1 what the list does not know.
    return len(words) + 2, by_vocabulary(words, 2, 1), 0


def _table(config: Any, buckets: int) -> Table:
    name = config.embedding_name or f"{config.feature_name}_emb"
    return Table(name, buckets, config.embedding_dim, config.init_fn)


def _raw_feature(config: Any, data: DataConfig) -> Feature:
    if config.boundaries:
        buckets = len(config.boundaries) + 1
        encoded = data.fg_mode == data_pb2.FG_NONE
        bucketizer = by_number(buckets) if encoded else by_boundaries(config.boundaries)
        return IdFeature(
            name=config.feature_name,
            column=_column(config, data),
            table=_table(config, buckets),
            pooling=config.pooling,
            bucketizer=bucketizer,
            default=_default_ids(config, data, bucketizer, buckets, config.value_dim),
            separator=_separator(config, data),
            most=config.value_dim,
            exact=True,
        )
    where = f'feature "{config.feature_name}", default_value'
    flat = rows_of(pa.array([_default_text(config, data)]), _separator(config, data), where).flat
    default = numbers(flat, pa.float32(), where)
    if len(default) not in (0, 1, config.value_dim):
        raise UserError(f"{where}: {len(default)} numbers, value_dim says {config.value_dim}")
    return RawFeature(
        name=config.feature_name,
        column=_column(config, data),
        width=config.value_dim,
        # One number stands for all; none is a zero vector.
        default=np.resize(default, config.value_dim)
        if len(default)
        else np.zeros(config.value_dim, np.float32),
        separator=_separator(config, data),
    )
