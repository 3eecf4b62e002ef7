"""What the tests of data preparation share."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import text_format

from tzrec.protos.pipeline_pb2 import EasyRecConfig


def read(folder: Path) -> pa.Table:
    """All parts of a table, in the order of their names."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])


def rows(table: pa.Table, *names: str) -> list[tuple]:
    """The rows of these columns."""
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def negatives(path: Path) -> list[tuple[int, float, list[str]]]:
    """(id, weight, attributes) of a negative table; checks its header."""
    header, *lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    assert header == "id:int64\tweight:float\tattrs:string"
    parsed = [line.split("\t") for line in lines]
    return [(int(key), float(weight), attributes.split("\x02")) for key, weight, attributes in parsed]


def config(path: Path) -> EasyRecConfig:
    """A configuration, read by protobuf."""
    return text_format.Parse(path.read_text(encoding="utf-8"), EasyRecConfig())


def features(pipeline: EasyRecConfig) -> dict:
    """The features of a configuration by name."""
    chosen = [getattr(one, one.WhichOneof("feature")) for one in pipeline.feature_configs]
    return {feature.feature_name: feature for feature in chosen}
