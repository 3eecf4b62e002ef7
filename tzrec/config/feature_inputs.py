"""What each feature type reads, and how it ends: facts that validation and the features share."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tzrec.protos.data_pb2 import FgMode

# Message type -> the fields that name its inputs.
INPUT_FIELDS: dict[str, tuple[str, ...]] = {
    "IdFeature": ("expression",),
    "RawFeature": ("expression",),
    "ComboFeature": ("expression",),
    "LookupFeature": ("map", "key"),
    "MatchFeature": ("nested_map", "pkey", "skey"),
    "ExprFeature": ("variables",),
    "OverlapFeature": ("query", "title"),
    "TokenizeFeature": ("expression",),
    "KvDotProduct": ("query", "document"),
    "BoolMaskFeature": ("expression",),
    "CombineFeature": ("expression",),
}
ONE_INPUT = ("IdFeature", "RawFeature", "TokenizeFeature", "CombineFeature")
# In the place of a key of match_feature: every entry counts.
ALL = "ALL"
WORD_BUCKETIZERS = ("hash_bucket_size", "vocab_list", "vocab_dict", "vocab_file", "zch", "dynamicemb")
BUCKETIZERS = ("hash_bucket_size", "num_buckets", *WORD_BUCKETIZERS[1:])


class Side(NamedTuple):
    """One input of a feature: `side:name` in the field at `path`."""

    path: str
    text: str
    side: str
    name: str


def inputs(feature: Any) -> Iterator[Side]:
    """The inputs of a feature in order; `ALL` of a match_feature is left as the name of no side."""
    for field in INPUT_FIELDS[feature.DESCRIPTOR.name]:
        value = getattr(feature, field)
        texts = [value] if isinstance(value, str) else list(value)
        for i, text in enumerate(texts):
            side, colon, name = text.partition(":")
            path = field if isinstance(value, str) else f"{field}[{i}]"
            if field in ("pkey", "skey") and (name if colon else text) == ALL:
                side, name = "", ALL
            elif not colon:
                side, name = "", ""
            yield Side(path, text, side, name)


def given(feature: Any, names: tuple[str, ...]) -> list[str]:
    """Which of these fields are set."""
    return [field.name for field, _ in feature.ListFields() if field.name in names]


def is_text_valued(feature: Any) -> bool:
    """Whether what it computes is text, or ids, rather than a number."""
    kind = feature.DESCRIPTOR.name
    if kind == "LookupFeature":
        return feature.need_discrete or feature.need_key or bool(given(feature, WORD_BUCKETIZERS))
    if kind == "MatchFeature":
        shown = feature.need_discrete or feature.show_pkey or feature.show_skey
        return shown or bool(given(feature, WORD_BUCKETIZERS))
    return kind in ("IdFeature", "ComboFeature", "TokenizeFeature", "BoolMaskFeature")


def is_embedded(feature: Any) -> bool:
    """Whether it looks up an embedding table."""
    return is_text_valued(feature) or bool(given(feature, ("boundaries", "num_buckets")))


def is_sequence_input(feature: Any, one: Side) -> bool:
    """Whether an input of a feature that is a sequence is one itself."""
    if one.side in ("const", ""):
        return False
    if feature.sequence_fields:
        return one.name in feature.sequence_fields or one.text in feature.sequence_fields
    if feature.DESCRIPTOR.name in ONE_INPUT:
        return one.side != "feature"
    return one.side == "item"


def reads_inputs(message: Any) -> bool:
    """Whether the inputs of features are read, rather than columns named after the features."""
    return message.data_config.fg_mode in (FgMode.FG_NORMAL, FgMode.FG_DAG)
