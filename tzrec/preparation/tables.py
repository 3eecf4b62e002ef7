"""Writing the tables that every source has: parquet parts and the GraphLearn negative table."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tzrec.runtime.errors import UserError

ROW_GROUP = 65_536
PART_ROWS = 16 * ROW_GROUP
NEGATIVE_HEADER = "id:int64\tweight:float\tattrs:string\n"
ATTRIBUTE_DELIMITER = "\x02"
MULTI_VALUE = "\x1d"
# What separates lines, columns and attributes cannot stand in an attribute.
_RESERVED = "[\t\r\n\x02]"


def chunks(rows: int, size: int = ROW_GROUP) -> Iterator[tuple[int, int]]:
    """The half-open ranges of at most `size` rows that make up `rows` rows."""
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def write_parts(
    folder: Path, tables: Iterable[pa.Table], schema: pa.Schema, rows: int, least: int = 1
) -> int:
    """Writes `folder/part-00000.parquet` and so on: parts of equal size, row groups of 65,536 rows.

    Args:
        folder: is made.
        tables: pieces of any size that have this schema, in the order of the rows.
        schema: of the table.
        rows: how many there are in all pieces.
        least: how many parts to write at the least (no more than there are rows).

    Returns:
        rows, for the summary.
    """
    folder.mkdir(parents=True)
    parts = max(1, min(rows, max(least, math.ceil(rows / PART_ROWS))))
    pieces = _Pieces(tables, schema)
    for part in range(parts):
        left = rows * (part + 1) // parts - rows * part // parts
        with pq.ParquetWriter(folder / f"part-{part:05d}.parquet", schema) as writer:
            while left:
                group = pieces.take(min(left, ROW_GROUP))
                writer.write_table(group, row_group_size=ROW_GROUP)
                left -= group.num_rows
    return rows


class _Pieces:
    """A stream of tables, taken in other portions than they come in."""

    def __init__(self, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        self.tables, self.schema = iter(tables), schema
        self.rest = schema.empty_table()

    def take(self, rows: int) -> pa.Table:
        held = [self.rest]
        count = self.rest.num_rows
        while count < rows:
            held.append(next(self.tables).select(self.schema.names).cast(self.schema))
            count += held[-1].num_rows
        whole = pa.concat_tables(held)
        self.rest = whole.slice(rows)
        return whole.slice(0, rows).combine_chunks()


def negative_weights(counts: np.ndarray, power: float) -> np.ndarray:
    """(occurrences in training + 1) ** power, so that an item that training lacks can be drawn too.

    Args:
        counts: int64 [I], rows of the training table with each item.
        power: 0 draws all items alike, 1 in proportion to how often they occur.

    Returns:
        float64 [I].
    """
    return (counts + 1.0) ** power


def write_negatives(
    path: Path, items: pa.Table, id_column: str, attributes: Sequence[str], weights: np.ndarray
) -> int:
    r"""Writes a GraphLearn table: id, weight and the attributes joined by \x02, one item a line.

    A null is an empty attribute; the values of a list stand with \x1d between them.

    Args:
        path: of the text file.
        items: one row an item, I rows.
        id_column: int64.
        attributes: columns in the order of `negative_sampler.attr_fields`.
        weights: float64 [I].

    Returns:
        I, for the summary.

    Raises:
        UserError: an attribute that contains a character of the format.
    """
    with path.open("wb") as stream:
        stream.write(NEGATIVE_HEADER.encode())
        for start, stop in chunks(items.num_rows):
            piece = items.slice(start, stop - start).combine_chunks()
            texts = [_text(piece[name], name) for name in attributes]
            lines = pc.binary_join_element_wise(
                piece[id_column].cast(pa.string()),
                pa.array(weights[start:stop]).cast(pa.string()),
                texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, ATTRIBUTE_DELIMITER),
                "\t",
            )
            stream.write("\n".join(lines.to_pylist()).encode() + b"\n")
    return items.num_rows


def _text(column: pa.ChunkedArray, name: str) -> pa.Array:
    values = column.combine_chunks()
    if pa.types.is_list(values.type):
        values = pc.binary_join(values.cast(pa.list_(pa.string())), MULTI_VALUE)
    elif not pa.types.is_string(values.type):
        return pc.fill_null(values.cast(pa.string()), "")
    values = pc.fill_null(values, "")
    wrong = pc.match_substring_regex(values, _RESERVED)
    if pc.any(wrong).as_py():
        found = values[pc.index(wrong, True).as_py()].as_py()
        raise UserError(
            f"the {name} {found!r} contains a tab, a line break or \\x02, "
            "which the negative table cannot hold"
        )
    return values
