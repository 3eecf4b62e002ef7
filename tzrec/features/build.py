"""The border: feature configurations become features with plain arguments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tzrec.config.feature_inputs import given, inputs, is_embedded, is_sequence_input, is_text_valued
from tzrec.features.bucketize import (
    Bucketizer,
    by_boundaries,
    by_dictionary,
    by_hash,
    by_integer_part,
    by_number,
    by_vocabulary,
)
from tzrec.features.feature import Feature, IdFeature, RawFeature
from tzrec.features.normalize import Normalizer, build_normalizer
from tzrec.features.operators import Files, as_typed, build_operator, separator_of, tokenizer_of
from tzrec.features.outputs import DenseEmbedding, Limits, Table
from tzrec.features.plain import Plain, Weighted
from tzrec.features.source import OUTPUT, Input, Operator, SequenceShape, Source
from tzrec.features.values import numbers, rows_of
from tzrec.features.vocabulary import read_vocabulary
from tzrec.protos import data_pb2
from tzrec.protos.data_pb2 import DataConfig
from tzrec.protos.feature_pb2 import FeatureConfig, ParameterConstraints
from tzrec.runtime.errors import UserError
from tzrec.runtime.memory import check_fits

# Types whose value_dim counts numbers that belong together.
NUMERIC = ("RawFeature", "LookupFeature")


@dataclass(frozen=True)
class _Spec:
    """One feature of the configuration: its own message and what surrounds it."""

    config: Any
    name: str
    group: str = ""
    shape: SequenceShape | None = None
    spread: bool = False


def build_features(
    configs: Sequence[FeatureConfig], data: DataConfig, bundle: Path | None = None
) -> list[Feature]:
    """The features of a validated configuration, in its order; those of a group one by one.

    Args:
        configs: of the features.
        data: says in which form the columns are.
        bundle: the exported folder that holds the files of the features; None before the export.

    Raises:
        UserError: a default value that its own bucketizer refuses, a file that cannot be read,
            features that read one another in a circle.
    """
    specs = {spec.name: spec for spec in _specs(configs, data)}
    return _Builder(specs, data, Files(bundle)).all()


def _specs(configs: Sequence[FeatureConfig], data: DataConfig) -> Iterator[_Spec]:
    for config in configs:
        kind = config.WhichOneof("feature")
        one = getattr(config, kind)
        if kind == "sequence_feature":
            for inner in one.features:
                part = getattr(inner, inner.WhichOneof("feature"))
                shape = _shape(one, part, data)
                yield _Spec(part, f"{one.sequence_name}__{part.feature_name}", one.sequence_name, shape)
        elif kind.startswith("sequence_"):
            yield _Spec(one, one.feature_name, shape=_shape(one, one, data))
        elif getattr(one, "tokens_as_sequence", False):
            yield _Spec(one, one.feature_name, shape=_shape(one, one, data), spread=not _is_encoded(data))
        else:
            yield _Spec(one, one.feature_name)


def _shape(sequence: Any, feature: Any, data: DataConfig) -> SequenceShape:
    """How the sequences of a feature are written, by the message that says it."""
    # FG_NONE: the column says how many elements there are, unless a default is given for none.
    filled = data.fg_mode != data_pb2.FG_NONE or bool(feature.fg_encoded_default_value)
    return SequenceShape(sequence.sequence_length, sequence.sequence_delim, filled)


def _is_encoded(data: DataConfig) -> bool:
    """Whether columns hold what features are, rather than what they are computed from."""
    return data.fg_mode in (data_pb2.FG_NONE, data_pb2.FG_BUCKETIZE)


class _Builder:
    """Builds features behind those they read."""

    def __init__(self, specs: Mapping[str, _Spec], data: DataConfig, files: Files) -> None:
        self.specs, self.data, self.files = specs, data, files
        self.is_none = data.fg_mode == data_pb2.FG_NONE
        self.is_encoded = _is_encoded(data)
        self.built: dict[str, Feature] = {}

    def all(self) -> list[Feature]:
        return [self.feature(name, ()) for name in self.specs]

    def feature(self, name: str, readers: tuple[str, ...]) -> Feature:
        if name in readers:
            circle = " -> ".join((*readers[readers.index(name) :], name))
            raise UserError(f"feature_configs: features read one another in a circle: {circle}")
        if name not in self.built:
            spec = self.specs[name]
            read, needed = self._inputs(spec)
            needs = tuple(self.feature(other, (*readers, name)) for other in needed)
            self.built[name] = self._build(spec, read, needs)
        return self.built[name]

    def _inputs(self, spec: _Spec) -> tuple[tuple[Input, ...], list[str]]:
        """(the inputs, the names of the features among them)."""
        sequence = spec.shape is not None and not spec.spread
        if self.is_encoded:
            return (Input(spec.name, sequence=sequence),), []
        read, needed = [], []
        for one in inputs(spec.config):
            in_sequence = sequence and is_sequence_input(spec.config, one)
            if one.side in ("const", ""):
                read.append(Input(constant=one.name))
            elif one.side == "feature":
                inside = f"{spec.group}__{one.name}"
                needed.append(inside if spec.group and inside in self.specs else one.name)
                read.append(Input(OUTPUT + needed[-1], sequence=in_sequence))
            else:
                column = f"{spec.group}__{one.name}" if spec.group and in_sequence else one.name
                read.append(Input(column, sequence=in_sequence))
        return tuple(read), needed

    def _build(self, spec: _Spec, read: tuple[Input, ...], needs: tuple[Feature, ...]) -> Feature:
        config = spec.config
        separator = self.data.fg_encoded_multival_sep if self.is_none else separator_of(config)
        operator: Operator
        if self.is_encoded:
            operator = Weighted(separator) if getattr(config, "weighted", False) else Plain(separator)
            if not self.is_none:
                operator = as_typed(operator, config)
        else:
            operator = build_operator(config, self.files)
        common = {
            "name": spec.name,
            "source": Source(operator, read, spec.shape, spec.spread),
            "separator": separator,
            "needs": needs,
            "stub": config.stub_type,
            "masked": config.use_mask,
            "group": spec.group,
        }
        if is_embedded(config):
            return self._id_feature(spec, separator, common)
        return self._raw_feature(spec, separator, common)

    def _id_feature(self, spec: _Spec, separator: str, common: dict[str, Any]) -> IdFeature:
        config = spec.config
        buckets, bucketizer, default_id = self._buckets(config)
        text = self._default_text(spec)
        where = f'feature "{spec.name}", default_value'
        normalizer = None if self.is_encoded else build_normalizer(getattr(config, "normalizer", ""))
        if self.is_none:
            bucketizer, default_id = by_number(buckets), None
        if default_id is not None and text:
            default = np.array([default_id], np.int64)
        elif config.DESCRIPTOR.name == "TokenizeFeature" and not self.is_encoded:
            tokens = build_operator(config, self.files)([pa.array([text])], where)
            default = tokens.flat.to_numpy(zero_copy_only=False).astype(np.int64)
        else:
            default = bucketizer(rows_of(pa.array([text]), separator, where).flat, where)
            if (default < 0).any() or (default >= buckets).any():
                raise UserError(f'{where}: "{text}" is outside the {buckets} buckets; give one inside or ""')
        most = self._most(spec)
        together = most > 0 and config.DESCRIPTOR.name in NUMERIC and not is_text_valued(config)
        if together and len(default) == 1:
            # One number stands for all, as where numbers are no ids.
            default = np.repeat(default, most)
        elif together and len(default) not in (0, most):
            raise UserError(f"{where}: {len(default)} numbers, value_dim says {most}")
        name = config.embedding_name or f"{spec.name}_emb"
        half = config.data_type == "FP16"
        limits = read_limits(config.embedding_constraints)
        return IdFeature(
            **common,
            table=Table(name, buckets, config.embedding_dim, config.init_fn, config.trainable, half, limits),
            pooling=config.pooling,
            bucketizer=_normalized(bucketizer, normalizer) if _is_of_numbers(config) else bucketizer,
            default=default[:most] if most else default,
            default_text="" if self.is_none else text,
            most=most,
            exact=together and (config.DESCRIPTOR.name == "RawFeature" or not self.is_encoded),
            normalizer=normalizer,
            weighted=getattr(config, "weighted", False),
        )

    def _default_text(self, spec: _Spec) -> str:
        """What stands for a missing value; a sequence is never without any, but for FG_NONE."""
        if self.is_none:
            return spec.config.fg_encoded_default_value
        return getattr(spec.config, "default_value", "") or ("0" if spec.shape is not None else "")

    @staticmethod
    def _most(spec: _Spec) -> int:
        """How many values are kept; 0 for all. In a sequence the default is one an element."""
        if "value_dim" not in spec.config.DESCRIPTOR.fields_by_name:
            return 0
        if spec.shape is not None and not spec.config.HasField("value_dim"):
            return 1
        return spec.config.value_dim

    def _buckets(self, config: Any) -> tuple[int, Bucketizer, int | None]:
        """(buckets, bucketizer, the id that default_value has by decree)."""
        if config.DESCRIPTOR.name == "TokenizeFeature":
            size = tokenizer_of(config, self.files)[1]
            return size, by_number(size), None
        has = {field.name for field, _ in config.ListFields()}
        if "boundaries" in has:
            return len(config.boundaries) + 1, by_boundaries(config.boundaries), None
        if "num_buckets" in has:
            # What is combined need not be whole: a mean of 1 and 2 is in bucket 1.
            by = by_integer_part if config.DESCRIPTOR.name == "CombineFeature" else by_number
            return config.num_buckets, by(config.num_buckets), None
        if "hash_bucket_size" in has:
            return config.hash_bucket_size, by_hash(config.hash_bucket_size), None
        return self._vocabulary(config)

    def _vocabulary(self, config: Any) -> tuple[int, Bucketizer, int | None]:
        unknown = config.default_bucketize_value if config.HasField("default_bucketize_value") else None
        if config.vocab_list:
            words = list(config.vocab_list)
            if unknown is not None:
                return max(len(words), unknown + 1), by_vocabulary(words, 0, unknown), None
            # 0 is the default value, 1 what the list does not know.
            return len(words) + 2, by_vocabulary(words, 2, 1), 0
        if config.vocab_dict:
            ids: Mapping[str, int] = dict(config.vocab_dict)
        else:
            ids = read_vocabulary(self.files.path(config), config.feature_name)
        rows = max(*ids.values(), 1 if unknown is None else unknown) + 1
        return rows, by_dictionary(ids, 1 if unknown is None else unknown), 0 if unknown is None else None

    def _raw_feature(self, spec: _Spec, separator: str, common: dict[str, Any]) -> RawFeature:
        config = spec.config
        text = self._default_text(spec)
        width = getattr(config, "value_dim", 1) or 1
        check_fits(f'feature "{spec.name}", value_dim: a row of {width} numbers', width)
        where = f'feature "{spec.name}", default_value'
        default = numbers(rows_of(pa.array([text]), separator, where).flat, pa.float32(), where)
        if len(default) not in (0, 1, width):
            raise UserError(f"{where}: {len(default)} numbers, value_dim says {width}")
        if not np.isfinite(default).all():
            raise UserError(f'{where}: "{text}" is not finite; give another number, or "" for zeros')
        normalizer = None if self.is_encoded else build_normalizer(getattr(config, "normalizer", ""))
        return RawFeature(
            **common,
            value_dim=width,
            # Behind the normalizer. One number stands for all; none is a zero vector.
            default=np.resize(default, width) if len(default) else np.zeros(width, np.float32),
            normalizer=normalizer,
            embedding=_dense_embedding(config),
        )


def read_limits(config: ParameterConstraints) -> Limits:
    """What a validated configuration holds the planner of embedding tables to."""
    return Limits(tuple(config.sharding_types), tuple(config.compute_kernels))


def _is_of_numbers(config: Any) -> bool:
    return bool(given(config, ("boundaries", "num_buckets")))


def _normalized(bucketizer: Bucketizer, normalizer: Normalizer | None) -> Bucketizer:
    if normalizer is None:
        return bucketizer

    def bucketize(flat: pa.Array, where: str) -> np.ndarray:
        return bucketizer(pa.array(normalizer(numbers(flat, pa.float64(), where))), where)

    return bucketize


def _dense_embedding(config: Any) -> DenseEmbedding | None:
    kind = config.WhichOneof("dense_emb")
    if kind is None:
        return None
    if kind == "mlp":
        return DenseEmbedding(config.embedding_dim)
    autodis = config.autodis
    return DenseEmbedding(config.embedding_dim, autodis.num_channels, autodis.temperature, autodis.keep_prob)
