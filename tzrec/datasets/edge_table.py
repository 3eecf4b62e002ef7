"""Edge tables: user id, item id, weight, one edge a line; kept in the cache as arrays that all map.

The text form has a header that types the columns, such as `user_id:int64 \\t item_id:int64 \\t
weight:float`; the names are free. Parquet tables have these columns in this order.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.datasets.attributes import Place, cast
from tzrec.datasets.cache import built_once, digest
from tzrec.datasets.edges import Edges
from tzrec.datasets.files import DataFile, expand
from tzrec.datasets.keys import keys_of
from tzrec.datasets.negative_table import NegativeTable
from tzrec.datasets.negative_text import IDS, WEIGHT, Header, TextFile, ids_of, text_columns, weights_of
from tzrec.datasets.parquet_file import PIECE, all_batches
from tzrec.features.values import is_text
from tzrec.runtime.errors import UserError, one_line

FORMAT = 2
EDGE: Header = (("user_id", IDS), ("item_id", IDS), ("weight", WEIGHT))
USER: Header = (("id", IDS), ("weight", WEIGHT))
PARQUET_ROWS = 1 << 17  # that are read at a time


class Rows(NamedTuple):
    """Some rows of a table: its id columns, int64 or text [N] each, and float64 weights [N]."""

    ids: list[pa.Array]
    weights: np.ndarray
    place: Place


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
        the edges, and what is to be said of them in one line, "" for nothing.

    Raises:
        UserError: a malformed table, with file and line.
    """
    files, user_files = expand(paths, flag=flag), expand(user_paths, flag=user_flag)
    stamps = [[file.stamp() for file in some] for some in (files, user_files)]

    def build(folder: Path) -> None:
        _build(folder, files, user_files, pool, delimiter)

    return _map(built_once(cache, digest("edges", [FORMAT, stamps, delimiter, pool.name]), build), flag)


def _build(
    folder: Path,
    files: Sequence[DataFile],
    user_files: Sequence[DataFile],
    pool: NegativeTable,
    delimiter: str,
) -> None:
    same = _SameType()
    listed = [np.empty(0, np.int64)]
    for file in user_files:
        for rows in _read(file, USER, delimiter):
            listed.append(keys_of(rows.ids[0], same.check(rows)))
    users, items = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    weights = [np.empty(0, np.float64)]
    lost = 0
    for file in files:
        for rows in _read(file, EDGE, delimiter):
            keys, found = keys_of(rows.ids[0], same.check(rows)), _pool_rows(rows, pool)
            here = found >= 0
            lost += len(here) - int(here.sum())
            users.append(keys[here])
            items.append(found[here])
            weights.append(rows.weights[here])
    edges = Edges.build(np.concatenate(users), np.concatenate(items), np.concatenate(weights), same.text_ids)
    small = edges.items.astype(np.int32 if len(pool) < 2**31 else np.int64)
    arrays = {"users": edges.users, "offsets": edges.offsets, "items": small, "weights": edges.weights}
    for what, array in arrays.items():
        np.save(folder / f"{what}.npy", array)
    facts = {
        "text_ids": same.text_ids,
        "edges": len(edges),
        "no_item": lost,
        "no_user": len(np.setdiff1d(edges.users, np.concatenate(listed))),
    }
    (folder / "edges.json").write_text(json.dumps(facts), encoding="utf-8")


class _SameType:
    """Whether user ids are text: the same in all tables."""

    def __init__(self) -> None:
        self.text_ids = False
        self.first: DataFile | None = None

    def check(self, rows: Rows) -> bool:
        text_ids = is_text(rows.ids[0].type)
        if self.first is None:
            self.text_ids, self.first = text_ids, rows.place.file
        if text_ids != self.text_ids:
            kinds = ("text", "integers") if text_ids else ("integers", "text")
            raise UserError(
                f"{rows.place.file}: its user ids are {kinds[0]}, those of {self.first} {kinds[1]}; "
                "give all of these tables the same type"
            )
        return text_ids


def _pool_rows(rows: Rows, pool: NegativeTable) -> np.ndarray:
    items = rows.ids[1]
    if is_text(items.type) != pool.text_ids:
        ours, theirs = ("integers", "text") if pool.text_ids else ("text", "integers")
        raise UserError(
            f"{rows.place.file}: its item ids are {ours}, those of the item table {theirs}; "
            "give both tables the same type"
        )
    return pool.row_of_each(items)


def _read(file: DataFile, header: Header, delimiter: str) -> Iterator[Rows]:
    if file.path.endswith(".parquet"):
        yield from _read_parquet(file, header)
        return
    with closing(TextFile(file, delimiter, header=header)) as text:
        for block, line in text.blocks():
            place = Place(file, line)
            *ids, weights = text_columns(block, place, delimiter, header)
            kinds = [kind == "string" for kind in text.types[:-1]]
            typed = [ids_of(column, is_txt, place) for column, is_txt in zip(ids, kinds, strict=True)]
            yield Rows(typed, weights_of(weights, place), place)


def _read_parquet(file: DataFile, header: Header) -> Iterator[Rows]:
    row = 1
    try:
        with (
            file.open() as stream,
            pq.ParquetFile(stream, pre_buffer=False, buffer_size=PIECE) as parquet,
        ):
            for batch in all_batches(parquet, None, PARQUET_ROWS):
                if batch.num_columns < len(header):
                    names = ", ".join(name for name, _ in header)
                    raise UserError(
                        f"{file}: {batch.num_columns} columns where {names} are wanted, in this order"
                    )
                place = Place(file, row, "row ")
                *ids, weights = (_decoded(column) for column in batch.columns[: len(header)])
                typed = [ids_of(column, is_text(column.type), place) for column in ids]
                typed = [
                    column if is_text(column.type) else cast(column, pa.int64(), "the id ", place)
                    for column in typed
                ]
                yield Rows(typed, weights_of(weights, place), place)
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{file}: cannot be read as parquet ({one_line(error)}); "
            "give files written as parquet, and copy this one again if it should be"
        ) from None


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _map(folder: Path, flag: str) -> tuple[Edges, str]:
    users, offsets, items, weights = (
        np.load(folder / f"{what}.npy", mmap_mode="r") for what in ("users", "offsets", "items", "weights")
    )
    facts = json.loads((folder / "edges.json").read_text(encoding="utf-8"))
    notes = []
    if facts["no_item"]:
        notes.append(f"{facts['no_item']} edges to items that the item table lacks are left out")
    if facts["no_user"]:
        notes.append(
            f"{facts['no_user']} users with edges are not in the user table; their edges count all the same"
        )
    note = f"{flag}: {facts['edges']} edges; " + "; ".join(notes) if notes else ""
    return Edges(users, offsets, items, weights, facts["text_ids"]), note
