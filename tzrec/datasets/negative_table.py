"""The item pool to draw negatives from: parsed once a host, then memory-mapped by every process.

The table becomes a folder in the cache: the attributes as Arrow IPC, beside them the alias table
of the weights and the ids in sorted order. The folder's name is a digest of what it was made from
(paths, sizes, times of change, attribute types), it appears by one rename when it is whole, and
processes that start together wait for the one that builds it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tzrec.datasets.alias import build_alias
from tzrec.datasets.cache import built_once, digest
from tzrec.datasets.files import DataFile, expand
from tzrec.datasets.negative_text import (
    HEADER,
    AttributeType,
    Lines,
    attributes_of,
    convert,
    ids_of,
    read_text,
    weights_of,
)
from tzrec.features.bucketize import fingerprint64
from tzrec.features.values import is_text
from tzrec.runtime.errors import UserError, missing_columns

FORMAT = 2


@dataclass(frozen=True)
class NegativeTable:
    """N items; every array is a memory map.

    Attributes:
        attributes: Arrow table, N rows, one chunk a column.
        weights: float64 [N].
        threshold: float32 [N], with `alias` the alias table of the weights.
        alias: int64 [N].
        keys: int64 [N], ids (fingerprints of text ids) in ascending order.
        order: int64 [N], order[i] is the row of keys[i].
        ids: int64 [N], the key of each row.
        text_ids: whether the ids are text.
        total_weight: the sum of the weights.
        name: of the folder of the arrays, which tells tables apart.
    """

    attributes: pa.Table
    weights: np.ndarray
    threshold: np.ndarray
    alias: np.ndarray
    keys: np.ndarray
    order: np.ndarray
    ids: np.ndarray
    text_ids: bool
    total_weight: float
    name: str

    def __len__(self) -> int:
        return len(self.weights)

    def row_of_each(self, keys: np.ndarray) -> np.ndarray:
        """The row of the pool that has each key, -1 where none has: int64 [len(keys)]."""
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.order[place], -1)

    def take(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, pa.Array]:
        """The named attributes of these rows."""
        taken = self.attributes.select(list(names)).take(pa.array(rows))
        return {name: pa.concat_arrays(taken[name].chunks) for name in names}


def keys_of_each(ids: pa.Array, text_ids: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ids as int64 keys, and the rows they stand in: a null has no key."""
    if not ids.null_count:
        return keys_of(ids, text_ids), np.arange(len(ids))
    return keys_of(ids, text_ids), np.flatnonzero(ids.is_valid().to_numpy(zero_copy_only=False))


def keys_of(ids: pa.Array, text_ids: bool) -> np.ndarray:
    """Ids as int64 keys: themselves, or FarmHash fingerprints of text ids. Nulls are left out."""
    ids = ids.drop_null()
    if text_ids:
        return fingerprint64(ids.cast(pa.string())).view(np.int64)
    try:
        return ids.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(
            f"the negative table has integer ids, the item ids of the training table are {ids.type}; "
            'write the header of the negative table as "id:string"'
        ) from None


def open_table(
    paths: str,
    types: Sequence[AttributeType],
    attr_delimiter: str,
    field_delimiter: str,
    cache: Path,
) -> NegativeTable:
    """The table, built into the cache first when it is not there.

    Args:
        paths: of the table, as `files.expand` takes them.
        types: the attributes in the order in which the table joins them.
        attr_delimiter: between the attributes of an item.
        field_delimiter: between id, weight and attributes.
        cache: the folder of the cache.

    Raises:
        UserError: a malformed table, with file and line.
    """
    files = expand(paths, flag="negative_sampler.input_path")
    recipe = [
        FORMAT,
        [file.stamp() for file in files],
        [[kind.name, str(kind.type), kind.separator, kind.encoded_separator] for kind in types],
        attr_delimiter,
        field_delimiter,
    ]
    name = digest("negatives", recipe)

    def build(folder: Path) -> None:
        _build(folder, files, types, attr_delimiter, field_delimiter)

    return _map(built_once(cache, name, build))


def _build(
    folder: Path, files: Sequence[DataFile], types: Sequence[AttributeType], attrs: str, fields: str
) -> None:
    pieces = [_read(file, types, attrs, fields) for file in files]
    if len({text_ids for _, _, _, text_ids in pieces}) > 1:
        raise UserError("negative_sampler.input_path: some files have integer ids, others text ids")
    ids = pa.concat_arrays([ids for ids, _, _, _ in pieces])
    weights = np.concatenate([weights for _, weights, _, _ in pieces])
    table = pa.concat_tables([table for _, _, table, _ in pieces]).combine_chunks()
    _write(folder, ids, weights, table, pieces[0][3], files)


def _read(
    file: DataFile, types: Sequence[AttributeType], attrs: str, fields: str
) -> tuple[pa.Array, np.ndarray, pa.Table, bool]:
    """(ids, weights, attributes, whether the ids are text) of one file, text or parquet."""
    if file.path.endswith(".parquet"):
        return _read_parquet(file, types, attrs)
    table, kinds = read_text(file, fields, HEADER)
    text_ids = kinds[0] == "string"
    lines = Lines(file)
    columns = [
        pa.concat_arrays(table[name].chunks or [pa.array([], pa.string())]) for name in table.column_names
    ]
    attributes = attributes_of(columns[2], attrs, types, lines)
    return ids_of(columns[0], text_ids, lines), weights_of(columns[1], lines), pa.table(attributes), text_ids


def _read_parquet(
    file: DataFile, types: Sequence[AttributeType], attrs: str
) -> tuple[pa.Array, np.ndarray, pa.Table, bool]:
    try:
        with file.open() as stream:
            table = pq.read_table(stream).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read as parquet ({str(error).splitlines()[0]})") from None
    names = table.column_names
    wanted = ["id", "weight"] + ([] if "attrs" in names else [kind.name for kind in types])
    if lost := [name for name in wanted if name not in names]:
        raise missing_columns(str(file), lost, names)
    lines = Lines(file, 1, "row ")
    flat = {name: pa.concat_arrays(table[name].chunks) for name in names if table.num_rows}
    if not flat:
        raise UserError(f"{file}: the negative table has no item")
    text_ids = is_text(flat["id"].type)
    if flat["id"].null_count:
        raise UserError(f"{lines.at(pc.index(flat['id'].is_null(), True).as_py())}: an id is null")
    if "attrs" in names:
        attributes = attributes_of(flat["attrs"], attrs, types, lines)
    else:
        attributes = {
            kind.name: convert(flat[kind.name], kind, lines)
            if is_text(flat[kind.name].type)
            else flat[kind.name].cast(kind.type)
            for kind in types
        }
    ids = flat["id"] if text_ids else flat["id"].cast(pa.int64())
    return ids, weights_of(flat["weight"], lines), pa.table(attributes), text_ids


def _write(
    folder: Path,
    ids: pa.Array,
    weights: np.ndarray,
    table: pa.Table,
    text_ids: bool,
    files: Sequence[DataFile],
) -> None:
    name = ", ".join(map(str, files))
    if not len(ids):
        raise UserError(f"{name}: the negative table has no item")
    if not weights.sum() > 0:
        raise UserError(f"{name}: all {len(weights)} weights are zero, so nothing can be drawn")
    by_row = keys_of(ids, text_ids)
    order = np.argsort(by_row, kind="stable")
    keys = by_row[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        again = int(order[twice + 1].min())
        where = f"{files[0]}:{again + 2}" if len(files) == 1 else f"{name}: item {again + 1}"
        raise UserError(f"{where}: the id {ids[again].as_py()} stands twice; an item has one line")
    threshold, alias = build_alias(weights)
    arrays = {
        "weights": weights,
        "threshold": threshold,
        "alias": alias,
        "keys": keys,
        "order": order,
        "ids": by_row,
    }
    for what, array in arrays.items():
        np.save(folder / f"{what}.npy", array)
    with pa.ipc.new_file(str(folder / "attributes.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(weights)))
    (folder / "table.json").write_text(
        json.dumps({"text_ids": text_ids, "items": len(weights), "total_weight": float(weights.sum())})
    )


def _map(folder: Path) -> NegativeTable:
    arrays = {
        what: np.load(folder / f"{what}.npy", mmap_mode="r")
        for what in ("weights", "threshold", "alias", "keys", "order", "ids")
    }
    attributes = pa.ipc.open_file(pa.memory_map(str(folder / "attributes.arrow"))).read_all()
    facts = json.loads((folder / "table.json").read_text())
    return NegativeTable(
        attributes, **arrays, text_ids=facts["text_ids"], total_weight=facts["total_weight"], name=folder.name
    )
