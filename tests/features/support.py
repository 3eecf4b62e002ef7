"""Features from configuration text, and their values as plain lists."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import text_format

from tzrec.features.build import build_features
from tzrec.features.feature import Feature
from tzrec.features.graph import compute_all
from tzrec.features.outputs import Computed, Dense, DenseSequence, Sparse, SparseSequence
from tzrec.protos import data_pb2
from tzrec.protos.data_pb2 import DataConfig
from tzrec.protos.pipeline_pb2 import EasyRecConfig


def build(*texts: str, fg_mode: int = data_pb2.FG_DAG) -> dict[str, Feature]:
    """Features of blocks such as `id_feature { ... }`, by name."""
    pipeline = EasyRecConfig()
    for text in texts:
        text_format.Parse(f"feature_configs {{ {text} }}", pipeline)
    return {f.name: f for f in build_features(pipeline.feature_configs, DataConfig(fg_mode=fg_mode))}


def arrays(columns: Mapping[str, Any]) -> dict[str, pa.Array]:
    return {n: c if isinstance(c, pa.Array) else pa.array(c) for n, c in columns.items()}


def plain(computed: Computed) -> list[Any]:
    """A row each: its ids, its numbers, or its elements."""
    if isinstance(computed, Dense):
        assert computed.values.dtype == np.float32
        return computed.values.tolist()
    if isinstance(computed, DenseSequence):
        assert computed.values.dtype == np.float32
        return cut(computed.values.tolist(), computed.lengths)
    if isinstance(computed, SparseSequence):
        return cut(cut(computed.values.tolist(), computed.key_lengths), computed.lengths)
    assert isinstance(computed, Sparse)
    assert computed.values.dtype == np.int64
    return cut(computed.values.tolist(), computed.lengths)


def cut(flat: list[Any], lengths: np.ndarray) -> list[list[Any]]:
    assert lengths.dtype == np.int32
    assert int(lengths.sum()) == len(flat)
    ends = np.cumsum(lengths).tolist()
    return [flat[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def compute(text: str, columns: Mapping[str, Any], fg_mode: int = data_pb2.FG_DAG) -> list[Any]:
    """One feature of one block over these columns."""
    (feature,) = build(text, fg_mode=fg_mode).values()
    return plain(compute_all([feature], arrays(columns))[feature.name])
