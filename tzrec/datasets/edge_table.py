"""Edge tables: user id, item id, weight, one edge a line; kept beside the pool as arrays that all map.

The text form has a header that types the columns, such as `user_id:int64 \\t item_id:int64 \\t
weight:float`; the names are free. Parquet tables have three columns in this order.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.datasets.cache import built_once, digest
from tzrec.datasets.edges import Edges
from tzrec.datasets.files import DataFile, expand
from tzrec.datasets.negative_table import NegativeTable, keys_of
from tzrec.datasets.negative_text import Lines, ids_of, read_text, weights_of
from tzrec.features.values import is_text
from tzrec.runtime.errors import UserError

FORMAT = 1
IDS = ("int64", "string")
WEIGHT = ("float", "double")
EDGE = (("user_id", IDS), ("item_id", IDS), ("weight", WEIGHT))
USER = (("id", IDS), ("weight", WEIGHT))


def open_edges(
    paths: str,
    user_paths: str,
    pool: NegativeTable,
    delimiter: str,
    cache: Path,
    flag: str,
    user_flag: str,
) -> tuple[Edges, str]:
    """The edges, built into the cache first when they are not there.

    Args:
        paths: of the edge table, as `files.expand` takes them.
        user_paths: of the user table.
        pool: the items.
        delimiter: between the columns of a text table.
        cache: the folder of the cache.
        flag, user_flag: what to call the paths in an error.

    Returns:
        the edges, and what was left out of them as one line of text, "" when nothing was.

    Raises:
        UserError: a malformed table, with file and line.
    """
    files, user_files = expand(paths, flag=flag), expand(user_paths, flag=user_flag)
    name = digest(
        "edges",
        [
            FORMAT,
            [file.stamp() for file in files],
            [file.stamp() for file in user_files],
            delimiter,
            pool.name,
        ],
    )

    def build(folder: Path) -> None:
        _build(folder, files, user_files, pool, delimiter)

    return _map(built_once(cache, name, build), flag)


def _build(
    folder: Path,
    files: Sequence[DataFile],
    user_files: Sequence[DataFile],
    pool: NegativeTable,
    delimiter: str,
) -> None:
    known = [_columns(file, USER, delimiter) for file in user_files]
    pieces = [_columns(file, EDGE, delimiter) for file in files]
    text_ids = {is_text(ids.type) for (ids, *_), _ in (*known, *pieces)}
    if len(text_ids) > 1:
        raise UserError(
            f"{user_files[0]} and {files[0]}: user ids are integers in some of these tables, text in others"
        )
    is_text_id = text_ids.pop()
    users = np.concatenate([keys_of(ids, is_text_id) for (ids, *_), _ in pieces])
    weights = np.concatenate([weights_of(weights, lines) for (_, _, weights), lines in pieces])
    rows = np.concatenate([_pool_rows(items, pool, lines) for (_, items, _), lines in pieces])
    for (_, user_weights), lines in known:
        weights_of(user_weights, lines)
    listed = np.unique(np.concatenate([keys_of(ids, is_text_id) for (ids, *_), _ in known]))
    here = rows >= 0
    edges = Edges.build(users[here], rows[here], weights[here], is_text_id)
    small = edges.items.astype(np.int32 if len(pool) < 2**31 else np.int64)
    for what, array in (
        ("users", edges.users),
        ("offsets", edges.offsets),
        ("items", small),
        ("weights", edges.weights),
    ):
        np.save(folder / f"{what}.npy", array)
    facts = {
        "text_ids": is_text_id,
        "edges": len(edges),
        "no_item": int((~here).sum()),
        "no_user": int((~np.isin(edges.users, listed)).sum()),
    }
    (folder / "edges.json").write_text(json.dumps(facts))


def _pool_rows(items: pa.Array, pool: NegativeTable, lines: Lines) -> np.ndarray:
    if is_text(items.type) != pool.text_ids:
        ours, theirs = ("text", "integers") if is_text(items.type) else ("integers", "text")
        raise UserError(
            f"{lines.file}: its item ids are {ours}, those of the item table {theirs}; "
            "give both headers the same type"
        )
    return pool.row_of_each(keys_of(items, pool.text_ids))


def _columns(
    file: DataFile, header: Sequence[tuple[str, Sequence[str]]], delimiter: str
) -> tuple[list[pa.Array], Lines]:
    """The columns of one file: ids as int64 or text, the weight as it stands."""
    if file.path.endswith(".parquet"):
        return _parquet_columns(file, len(header))
    table, types = read_text(file, delimiter, header)
    lines = Lines(file)
    columns = [pa.concat_arrays(table[name].chunks or [pa.array([], pa.string())]) for name, _ in header]
    ids = [
        ids_of(column, kind == "string", lines) for column, kind in zip(columns[:-1], types[:-1], strict=True)
    ]
    return [*ids, columns[-1]], lines


def _parquet_columns(file: DataFile, count: int) -> tuple[list[pa.Array], Lines]:
    try:
        with file.open() as stream:
            table = pq.read_table(stream).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read as parquet ({str(error).splitlines()[0]})") from None
    if table.num_columns < count:
        raise UserError(f"{file}: {table.num_columns} columns where {count} are wanted, ids and a weight")
    columns = [pa.concat_arrays(table.column(i).chunks) for i in range(count)]
    lines = Lines(file, 1, "row ")
    for column in columns[:-1]:
        if column.null_count:
            raise UserError(f"{lines.at(column.is_valid().index(False).as_py())}: an id is null")
    ids = [column if is_text(column.type) else column.cast(pa.int64()) for column in columns[:-1]]
    return [*ids, columns[-1]], lines


def _map(folder: Path, flag: str) -> tuple[Edges, str]:
    arrays = [
        np.load(folder / f"{what}.npy", mmap_mode="r") for what in ("users", "offsets", "items", "weights")
    ]
    facts = json.loads((folder / "edges.json").read_text())
    notes = []
    if facts["no_item"]:
        notes.append(f"{facts['no_item']} edges to items that the item table lacks are left out")
    if facts["no_user"]:
        notes.append(
            f"{facts['no_user']} users with edges are not in the user table; their edges count all the same"
        )
    note = f"{flag}: {facts['edges']} edges; " + "; ".join(notes) if notes else ""
    users, offsets, items, weights = arrays
    return Edges(users, offsets, items, weights, facts["text_ids"]), note
