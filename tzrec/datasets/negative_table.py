"""The item pool to draw negatives from: prepared once a host, then memory-mapped by every process.

The table becomes a folder of arrays in the cache. The folder's name is a digest of what it was made
from (paths, sizes, times of change, attribute types), it appears by one rename when it is whole, and
processes that start together wait for the one that builds it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tzrec.datasets.alias import bucket_type
from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.bounded import read_array
from tzrec.datasets.cache import built_once, digest
from tzrec.datasets.columns import read_column, restore
from tzrec.datasets.files import expand
from tzrec.datasets.key_index import KeyIndex
from tzrec.datasets.keys import keys_of_each
from tzrec.datasets.negative_build import FACTS, IDS, Source, build_pool
from tzrec.datasets.negative_text import BLOCK
from tzrec.runtime.errors import UserError

# Raised whenever the folder would be read otherwise or hold something else.
FORMAT = 4


@dataclass(frozen=True)
class NegativeTable:
    """N items; every array is a memory map that all processes of a host share.

    Attributes:
        columns: by name, one array [N] each, as `datasets.columns` stores it.
        types: by name, what rows of that column are taken as.
        weights: float64 [N].
        threshold: float32 [N], with `alias` the alias table of the weights.
        alias: int32 or int64 [N].
        keys: int64 [N], the id of each row, or the fingerprint of its text id.
        index: of the keys.
        text_ids: whether the ids are text.
        total_weight: the sum of the weights.
        name: of the folder of the arrays, which tells tables apart.
    """

    columns: Mapping[str, pa.Array]
    types: Mapping[str, pa.DataType]
    weights: np.ndarray
    threshold: np.ndarray
    alias: np.ndarray
    keys: np.ndarray
    index: KeyIndex
    text_ids: bool
    total_weight: float
    name: str

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

    def rows_of_keys(self, keys: np.ndarray) -> np.ndarray:
        """The row of each key, -1 where the pool has no such: int64 [len(keys)]."""
        found, known = self.index.find(keys)
        rows = np.full(len(keys), -1, np.int64)
        rows[found] = known
        return rows

    def row_of_each(self, ids: pa.Array) -> np.ndarray:
        """The row of each id: int64 [len(ids)], -1 for a null and where the pool has no such id."""
        keys, places = keys_of_each(ids, self.text_ids)
        rows = np.full(len(ids), -1, np.int64)
        rows[places] = self.rows_of_keys(keys)
        return rows


def open_table(
    paths: str,
    types: Sequence[AttributeType],
    attr_delimiter: str,
    field_delimiter: str,
    cache: Path,
    block: int = BLOCK,
    flag: str = "negative_sampler.input_path",
) -> NegativeTable:
    """The table, built into the cache first when it is not there.

    Args:
        paths: of the table, as `files.expand` takes them.
        types: the attributes in the order in which the table joins them.
        attr_delimiter: between the attributes of an item.
        field_delimiter: between id, weight and attributes.
        cache: the folder of the cache.
        block: bytes of a text table that are converted at a time.
        flag: what to call the path in an error.

    Raises:
        UserError: a malformed table, with file and line; a cache that cannot be written.
    """
    source = Source(expand(paths, flag=flag), types, attr_delimiter, field_delimiter, flag)
    recipe = [
        FORMAT,
        [file.stamp() for file in source.files],
        [[kind.name, str(kind.type), kind.separator, kind.encoded_separator] for kind in types],
        attr_delimiter,
        field_delimiter,
    ]

    def build(folder: Path) -> None:
        build_pool(folder, source, block)

    return _map(built_once(cache, digest("negatives", recipe), build), types)


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
        read_array(folder / IDS, np.dtype(np.int64)),
        KeyIndex(
            read_array(folder / "keys", np.dtype(np.int64)),
            read_array(folder / "order", index),
            read_array(folder / "starts", index),
        ),
        facts["text_ids"],
        facts["total_weight"],
        folder.name,
    )
