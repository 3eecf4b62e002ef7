"""fg.json: the features of a tower with their configuration, for whoever computes them online."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format

from tzrec.protos.pipeline_pb2 import EasyRecConfig


def describe(pipeline: EasyRecConfig, names: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    """The features of a tower with their configuration, for whoever computes them online.

    A feature of a sequence_feature has its full name and what the sequence_feature says of all.
    """
    by_name = {}
    for config in pipeline.feature_configs:
        kind = config.WhichOneof("feature")
        one = getattr(config, kind)
        if kind != "sequence_feature":
            by_name[one.feature_name] = {"feature_type": kind, **_fields(one)}
            continue
        shared = {name: value for name, value in _fields(one).items() if name != "features"}
        for inner in one.features:
            part = inner.WhichOneof("feature")
            fields = _fields(getattr(inner, part))
            full = f"{one.sequence_name}__{fields['feature_name']}"
            by_name[full] = {"feature_type": part, **fields, **shared, "feature_name": full}
    return {"features": [by_name[name] for name in names]}


def _fields(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
