"""The item pool to draw negatives from: parsed once a host, then memory-mapped by every process.

The table becomes a folder in the cache: the attributes as Arrow IPC, beside them the alias table
of the weights and the ids in sorted order. The folder's name is a digest of what it was made from
(paths, sizes, times of change, attribute types), it appears by one rename when it is whole, and
processes that start together wait for the one that builds it.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from tzrec.datasets.alias import build_alias
from tzrec.datasets.files import DataFile, expand
from tzrec.datasets.negative_text import (
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

FORMAT = 1


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
        text_ids: whether the ids are text.
    """

    attributes: pa.Table
    weights: np.ndarray
    threshold: np.ndarray
    alias: np.ndarray
    keys: np.ndarray
    order: np.ndarray
    text_ids: bool

    def __len__(self) -> int:
        return len(self.weights)

    def rows_of(self, ids: pa.Array) -> np.ndarray:
        """The rows of the pool that have one of these ids, ascending and each once: int64 [<= len(ids)]."""
        wanted = np.unique(keys_of(ids, self.text_ids))
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.sort(self.order[place[self.keys[place] == wanted]])


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
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]
    folder = cache / f"negatives-{digest}"
    if not folder.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f"negatives-{digest}.lock"):
                if not folder.exists():
                    _build(folder, files, types, attr_delimiter, field_delimiter)
        except OSError as error:
            raise UserError(
                f"{cache}: the negative table cannot be kept here ({error.strerror or error}); "
                "set TZREC_CACHE_DIR to a folder with room that may be written"
            ) from None
    return _map(folder)


def _build(
    folder: Path, files: Sequence[DataFile], types: Sequence[AttributeType], attrs: str, fields: str
) -> None:
    staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        pieces = [_read(file, types, attrs, fields) for file in files]
        if len({text_ids for _, _, _, text_ids in pieces}) > 1:
            raise UserError("negative_sampler.input_path: some files have integer ids, others text ids")
        ids = pa.concat_arrays([ids for ids, _, _, _ in pieces])
        weights = np.concatenate([weights for _, weights, _, _ in pieces])
        table = pa.concat_tables([table for _, _, table, _ in pieces]).combine_chunks()
        _write(staging, ids, weights, table, pieces[0][3], files)
        os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _read(
    file: DataFile, types: Sequence[AttributeType], attrs: str, fields: str
) -> tuple[pa.Array, np.ndarray, pa.Table, bool]:
    """(ids, weights, attributes, whether the ids are text) of one file, text or parquet."""
    if file.path.endswith(".parquet"):
        return _read_parquet(file, types, attrs)
    table, text_ids = read_text(file, fields)
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
    keys = keys_of(ids, text_ids)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        again = int(order[twice + 1].min())
        where = f"{files[0]}:{again + 2}" if len(files) == 1 else f"{name}: item {again + 1}"
        raise UserError(f"{where}: the id {ids[again].as_py()} stands twice; an item has one line")
    threshold, alias = build_alias(weights)
    arrays = {"weights": weights, "threshold": threshold, "alias": alias, "keys": keys, "order": order}
    for what, array in arrays.items():
        np.save(folder / f"{what}.npy", array)
    with pa.ipc.new_file(str(folder / "attributes.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(weights)))
    (folder / "table.json").write_text(json.dumps({"text_ids": text_ids, "items": len(weights)}))


def _map(folder: Path) -> NegativeTable:
    arrays = {
        what: np.load(folder / f"{what}.npy", mmap_mode="r")
        for what in ("weights", "threshold", "alias", "keys", "order")
    }
    attributes = pa.ipc.open_file(pa.memory_map(str(folder / "attributes.arrow"))).read_all()
    facts = json.loads((folder / "table.json").read_text())
    return NegativeTable(attributes, **arrays, text_ids=facts["text_ids"])
