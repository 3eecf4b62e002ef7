"""The item pool to draw negatives from: prepared once a host, then memory-mapped by every process.

The table becomes a folder of arrays in the cache. The folder's name is a digest of what it was made
from (paths, sizes, times of change, attribute types), it appears by one rename when it is whole, and
processes that start together wait for the one that builds it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from tzrec.datasets.alias import bucket_type
from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.bounded import read_array
from tzrec.datasets.columns import read_column, restore
from tzrec.datasets.files import expand
from tzrec.datasets.key_index import KeyIndex
from tzrec.datasets.negative_build import FACTS, FLAG, Source, build_pool, keys_of
from tzrec.datasets.negative_text import BLOCK
from tzrec.runtime.errors import UserError

# Raised whenever the folder would be read otherwise or hold something else.
FORMAT = 2
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class NegativeTable:
    """N items; every array is a memory map that all processes of a host share.

    Attributes:
        columns: by name, one array [N] each, as `datasets.columns` stores it.
        types: by name, what rows of that column are taken as.
        weights: float64 [N].
        threshold: float32 [N], with `alias` the alias table of the weights.
        alias: int32 or int64 [N].
        ids: the index of the ids, or of the fingerprints of text ids.
        text_ids: whether the ids are text.
    """

    columns: Mapping[str, pa.Array]
    types: Mapping[str, pa.DataType]
    weights: np.ndarray
    threshold: np.ndarray
    alias: np.ndarray
    ids: KeyIndex
    text_ids: bool

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, pa.Array]:
        """The named attributes of these rows, [len(rows)] each.

        Args:
            rows: int64, 0 <= row < N, in any order, repeated or not.
            names: of attributes.
        """
        chosen = pa.array(rows)
        return {name: restore(self.columns[name].take(chosen), self.types[name]) for name in names}

    def rows_of(self, ids: pa.Array) -> np.ndarray:
        """The rows of the pool that have one of these ids, ascending and each once: int64 [<= len(ids)]."""
        _, rows = self.ids.find(self._keys(ids.drop_null()))
        rows.sort()
        return rows[np.concatenate([[True], rows[1:] != rows[:-1]])] if len(rows) else rows

    def row_of_each(self, ids: pa.Array) -> np.ndarray:
        """The row of each id: int64 [len(ids)], -1 for a null and where the pool has no such id."""
        present = np.flatnonzero(ids.is_valid().to_numpy(zero_copy_only=False))
        found, known = self.ids.find(self._keys(ids.drop_null()))
        rows = np.full(len(ids), -1, np.int64)
        rows[present[found]] = known
        return rows

    def _keys(self, ids: pa.Array) -> np.ndarray:
        if pa.types.is_dictionary(ids.type):
            ids = ids.dictionary_decode()
        try:
            return keys_of(ids, self.text_ids)
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
    block: int = BLOCK,
) -> NegativeTable:
    """The table, built into the cache first when it is not there.

    Args:
        paths: of the table, as `files.expand` takes them.
        types: the attributes in the order in which the table joins them.
        attr_delimiter: between the attributes of an item.
        field_delimiter: between id, weight and attributes.
        cache: the folder of the cache.
        block: bytes of a text table that are converted at a time.

    Raises:
        UserError: a malformed table, with file and line; a cache that cannot be written.
    """
    source = Source(expand(paths, flag=FLAG), types, attr_delimiter, field_delimiter)
    recipe = [
        FORMAT,
        [file.stamp() for file in source.files],
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
                    _build(folder, source, block)
        except OSError as error:
            raise UserError(
                f"{cache}: the negative table cannot be kept here ({error.strerror or error}); "
                "set TZREC_CACHE_DIR to a folder with room that may be written"
            ) from None
    return _map(folder, types)


def _build(folder: Path, source: Source, block: int) -> None:
    staging = folder.with_name(folder.name + UNFINISHED)
    # Whoever holds the lock is alone: this can only be left over from a build that was killed.
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        build_pool(staging, source, block)
        _sync(staging)
        os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Has everything on the disk before the folder gets its name: a power cut must not leave a hole."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _map(folder: Path, types: Sequence[AttributeType]) -> NegativeTable:
    facts = json.loads((folder / FACTS).read_text())
    for name, size in facts["files"].items():
        if not (folder / name).exists() or (folder / name).stat().st_size != size:
            raise UserError(f"{folder}: {name} is not as it was written; remove the folder, it is made anew")
    rows = facts["items"]
    buckets = read_array(folder / "buckets", bucket_type(rows))
    index = buckets["alias"].dtype
    return NegativeTable(
        {
            kind.name: read_column(folder, f"column{number}", kind.type, rows)
            for number, kind in enumerate(types)
        },
        {kind.name: kind.type for kind in types},
        read_array(folder / "weights", np.dtype(np.float64)),
        buckets["threshold"],
        buckets["alias"],
        KeyIndex(
            read_array(folder / "keys", np.dtype(np.int64)),
            read_array(folder / "order", index),
            read_array(folder / "starts", index),
        ),
        facts["text_ids"],
    )
