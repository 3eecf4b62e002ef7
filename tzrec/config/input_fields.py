"""Columns of a CSV table as `input_fields` or `input_fields_str` name them."""

from typing import Any

from tzrec.config.walk import Mistake, features
from tzrec.protos.data_pb2 import DatasetType, FieldType
from tzrec.runtime.errors import UserError, nearest

# What a field of a CSV file can be; several values stand in a STRING, split by a feature's separator.
FIELD_TYPES = ("INT32", "INT64", "STRING", "FLOAT", "DOUBLE")


def input_fields(data: Any) -> list[tuple[str, str]]:
    """(name, type) of every column, in order; STRING where no type is given.

    Raises:
        UserError: an entry of input_fields_str that is not name:type.
    """
    if not data.input_fields_str:
        return [
            (one.input_name, FieldType.Name(one.input_type) if one.HasField("input_type") else "STRING")
            for one in data.input_fields
        ]
    found = []
    for part in filter(None, (piece.strip() for piece in data.input_fields_str.split(";"))):
        name, colon, kind = (word.strip() for word in part.partition(":"))
        if not name or not colon or kind not in FieldType.DESCRIPTOR.values_by_name:
            hint = nearest(kind, FieldType.DESCRIPTOR.values_by_name)
            raise UserError(
                f'input_fields_str: "{part}" is not name:TYPE{hint}; types are {", ".join(FIELD_TYPES)}'
            )
        found.append((name, kind))
    return found


def csv_fields(message: Any) -> list[Mistake]:
    """What a CSV table needs to be read."""
    data = message.data_config
    path = "data_config"
    if data.input_fields and data.input_fields_str:
        return [Mistake(f"{path}.input_fields_str", "input_fields and input_fields_str exclude each other")]
    try:
        fields = input_fields(data)
    except UserError as error:
        return [Mistake(f"{path}.input_fields_str", str(error))]
    if data.dataset_type != DatasetType.CsvDataset:
        return []
    mistakes = []
    if len(data.delimiter.encode()) != 1 or data.delimiter in '\r\n"':
        mistakes.append(
            Mistake(f"{path}.delimiter", f'delimiter "{data.delimiter}" is not one ASCII character')
        )
    if not fields and not data.with_header:
        what = "CsvDataset without a header has no names of columns; give input_fields, or with_header: true"
        mistakes.append(Mistake(path, what))
    names = [name for name, _ in fields]
    for i, (name, kind) in enumerate(fields):
        where = f"{path}.input_fields_str" if data.input_fields_str else f"{path}.input_fields[{i}]"
        if names.count(name) > 1 and names.index(name) != i:
            mistakes.append(Mistake(where, f'input_fields names "{name}" twice'))
        if kind not in FIELD_TYPES:
            what = (
                f'"{name}" is {kind}, which a CSV field cannot hold; give STRING and the feature a separator'
            )
            mistakes.append(Mistake(where, what))
    return mistakes


def masks(message: Any) -> list[Mistake]:
    """Probabilities of masking, and features that it can take away."""
    data, mistakes = message.data_config, []
    for name in ("sample_mask_prob", "negative_sample_mask_prob"):
        value = getattr(data, name)
        if not 0 <= value <= 1:
            mistakes.append(Mistake(f"data_config.{name}", f"{name} must be from 0 to 1"))
    if data.negative_sample_mask_prob and data.WhichOneof("sampler") is None:
        what = "negative_sample_mask_prob is of sampled negatives, and data_config has no sampler"
        mistakes.append(Mistake("data_config.negative_sample_mask_prob", what))
    asking = [name for name in ("sample_mask_prob", "negative_sample_mask_prob") if getattr(data, name)]
    if asking and not mistakes and not any(feature.use_mask for _, feature, _ in features(message)):
        what = f"{asking[0]} takes features away that have use_mask: true, and none has; give it to one"
        mistakes.append(Mistake(f"data_config.{asking[0]}", what))
    return mistakes


RULES = (csv_fields, masks)
