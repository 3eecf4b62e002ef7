"""The border: a data configuration becomes the table that it names."""

from collections.abc import Sequence

import pyarrow as pa

from tzrec.config.input_fields import FIELD_TYPES, input_fields
from tzrec.datasets.csv import CsvTable
from tzrec.datasets.parquet import ParquetTable
from tzrec.datasets.table import Table
from tzrec.protos import data_pb2
from tzrec.protos.data_pb2 import DataConfig

_TYPES = {
    "INT32": pa.int32(),
    "INT64": pa.int64(),
    "STRING": pa.string(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
}
assert set(_TYPES) == set(FIELD_TYPES)


def suffixes(data: DataConfig) -> tuple[str, ...]:
    """How files of the table end in a folder."""
    return (".csv",) if data.dataset_type == data_pb2.CsvDataset else (".parquet",)


def open_rows(data: DataConfig, paths: str, columns: Sequence[str] | None, flag: str) -> Table:
    """The table of a validated configuration.

    Args:
        data: says of what kind the files are.
        paths: as `files.expand` takes them.
        columns: the columns to read; all when None.
        flag: what to call the path in an error.

    Raises:
        UserError: no file, or files that are no such table.
    """
    if data.dataset_type == data_pb2.CsvDataset:
        types = {name: _TYPES[kind] for name, kind in input_fields(data)}
        return CsvTable(paths, columns, flag, types, data.delimiter, data.with_header)
    return ParquetTable(paths, columns, flag)
