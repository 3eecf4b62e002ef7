"""Rules about what feature groups hold: sequences go through encoders, stubs go nowhere."""

from typing import Any

from tzrec.config.feature_inputs import is_embedded
from tzrec.config.walk import Mistake, features
from tzrec.protos.model_pb2 import FeatureGroupType
from tzrec.runtime.errors import nearest


def sequence_names(message: Any) -> set[str]:
    """Names of the features that are sequences."""
    names = set()
    for config in message.feature_configs:
        kind = config.WhichOneof("feature")
        if kind is None:
            continue
        one = getattr(config, kind)
        if kind != "sequence_feature":
            if kind.startswith("sequence_") or getattr(one, "tokens_as_sequence", False):
                names.add(one.feature_name)
        else:
            for inner in one.features:
                part = inner.WhichOneof("feature")
                if part is not None:
                    names.add(f"{one.sequence_name}__{getattr(inner, part).feature_name}")
    return names


def members(message: Any) -> list[Mistake]:
    """Stubs are not given to the model; a sequence in a DEEP group goes through an encoder."""
    stubs = {name for _, feature, name in features(message) if feature.stub_type}
    sequences = sequence_names(message)
    mistakes = []
    for i, group in enumerate(message.model_config.feature_groups):
        path = f"model_config.feature_groups[{i}]"
        lists = [(path, group.feature_names)]
        lists += [
            (f"{path}.sequence_groups[{j}]", inner.feature_names)
            for j, inner in enumerate(group.sequence_groups)
        ]
        for where, names in lists:
            for k, name in enumerate(names):
                if name in stubs:
                    what = f'group "{group.group_name}" names "{name}", which has stub_type: true'
                    mistakes.append(Mistake(f"{where}.feature_names[{k}]", what))
        if group.group_type != FeatureGroupType.DEEP:
            continue
        for k, name in enumerate(group.feature_names):
            if name in sequences:
                what = (
                    f'group "{group.group_name}" is DEEP and "{name}" is a sequence; name it in '
                    "sequence_groups and give the group a sequence encoder"
                )
                mistakes.append(Mistake(f"{path}.feature_names[{k}]", what))
        mistakes += _encoders(group, path, sequences)
    return mistakes


def _encoders(group: Any, path: str, sequences: set[str]) -> list[Mistake]:
    mistakes = []
    names = [inner.group_name for inner in group.sequence_groups]
    for j, inner in enumerate(group.sequence_groups):
        where = f"{path}.sequence_groups[{j}]"
        if names.count(inner.group_name) > 1:
            mistakes.append(Mistake(where, f'two sequence groups are named "{inner.group_name}"'))
        if not sequences.intersection(inner.feature_names):
            what = f'sequence group "{inner.group_name}" has no feature that is a sequence'
            mistakes.append(Mistake(where, what))
    read = set()
    for j, encoder in enumerate(group.sequence_encoders):
        kind, where = encoder.WhichOneof("seq_module"), f"{path}.sequence_encoders[{j}]"
        if kind is None:
            mistakes.append(
                Mistake(where, "an empty block: name an encoder, such as pooling_encoder { ... }")
            )
            continue
        one = getattr(encoder, kind)
        read.add(one.input)
        if one.input not in names:
            hint = nearest(one.input, names) or f"; there are: {', '.join(names) or 'none'}"
            what = f'{kind} reads the sequence group "{one.input}", which is not there{hint}'
            mistakes.append(Mistake(f"{where}.{kind}.input", what))
        mistakes += _options(one, kind, f"{where}.{kind}")
    for j, name in enumerate(names):
        if name not in read:
            what = f'no encoder reads the sequence group "{name}"'
            mistakes.append(Mistake(f"{path}.sequence_groups[{j}]", what))
    return mistakes


def _options(encoder: Any, kind: str, path: str) -> list[Mistake]:
    mistakes = []
    if kind == "pooling_encoder" and encoder.pooling_type not in ("mean", "sum"):
        what = f'pooling_type is one of "mean", "sum", got "{encoder.pooling_type}"'
        mistakes.append(
            Mistake(f"{path}.pooling_type", what + nearest(encoder.pooling_type, ("mean", "sum")))
        )
    if kind == "multi_window_din_encoder" and (not encoder.windows_len or 0 in encoder.windows_len):
        mistakes.append(Mistake(path, f"{kind} wants windows_len, each greater than 0"))
    if kind == "self_attention_encoder":
        if encoder.num_heads < 1 or encoder.multihead_attn_dim < 1:
            mistakes.append(Mistake(path, "num_heads and multihead_attn_dim must be greater than 0"))
        elif encoder.multihead_attn_dim % encoder.num_heads:
            what = f"multihead_attn_dim {encoder.multihead_attn_dim} is no multiple of num_heads "
            mistakes.append(Mistake(path, what + str(encoder.num_heads)))
        if not 0 <= encoder.dropout < 1:
            mistakes.append(Mistake(f"{path}.dropout", "dropout must be at least 0 and less than 1"))
    if getattr(encoder, "max_seq_length", 0) < 0:
        mistakes.append(
            Mistake(f"{path}.max_seq_length", "max_seq_length must not be negative; 0 is no limit")
        )
    return mistakes


def lookup_names(message: Any) -> list[Mistake]:
    """A feature in a table of its group's own is called `feature@table`; no feature may have that name."""
    tables = {
        name: feature.embedding_name or f"{name}_emb"
        for _, feature, name in features(message)
        if is_embedded(feature)
    }
    names = {name for _, _, name in features(message)}
    mistakes = []
    for i, group in enumerate(message.model_config.feature_groups):
        path = f"model_config.feature_groups[{i}]"
        reads = [(path, group.feature_names, group.embedding_name_suffix)]
        for j, inner in enumerate(group.sequence_groups):
            suffix = inner.embedding_name_suffix or group.embedding_name_suffix
            reads.append((f"{path}.sequence_groups[{j}]", inner.feature_names, suffix))
        for where, read, suffix in reads:
            for k, name in enumerate(read):
                lookup = f"{name}@{tables.get(name)}{suffix}"
                if suffix and name in tables and lookup in names:
                    what = (
                        f'with embedding_name_suffix "{suffix}" "{name}" is looked up as "{lookup}", '
                        "which is the name of another feature; rename that feature or change the suffix"
                    )
                    mistakes.append(Mistake(f"{where}.feature_names[{k}]", what))
    return mistakes


RULES = (members, lookup_names)
