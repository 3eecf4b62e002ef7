"""Columns of vectors as NumPy arrays; no Python object a row.

A vector stands in a column as a list of numbers (any of Arrow's list types, also a list of
such lists for several vectors), or as text: numbers joined by ",", vectors joined by ";".
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.runtime.errors import UserError


class Place(NamedTuple):
    """Where a column's rows come from, for errors.

    Attributes:
        table: what the user calls the table, such as "--item_embedding_input".
        column: name of the column.
        row: number of the first row in the whole table, counted from 0.
    """

    table: str
    column: str
    row: int = 0

    def error(self, row: int | None, message: str) -> UserError:
        """The error for `row` of these rows, or for the whole column when None."""
        at = "" if row is None else f", row {self.row + row} (counted from 0)"
        return UserError(f'{self.table}: column "{self.column}"{at}: {message}')


def is_list(kind: pa.DataType) -> bool:
    """Any of the list types."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_text(kind: pa.DataType) -> bool:
    """Either of the string types."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array in one piece, dictionary encoding undone."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column


def first_true(mask: pa.Array | np.ndarray) -> int:
    """Position of the first True of a mask that has one."""
    return int(np.flatnonzero(np.asarray(mask))[0])


class _Runs(NamedTuple):
    """A column of vectors laid end to end.

    Attributes:
        values: float32 [T], all numbers.
        lengths: int64 [V], how many numbers each vector has.
        rows: int64 [V], the row each vector stands in, ascending.
    """

    values: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray


def _lengths(lists: pa.Array) -> np.ndarray:
    return pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)


def _numbers(flat: pa.Array, place: Place) -> np.ndarray:
    if is_text(flat.type):
        try:
            flat = pc.cast(pc.utf8_trim_whitespace(flat), pa.float32())
        except pa.ArrowInvalid as error:
            raise place.error(None, f'{error}; a vector in text is numbers joined by ","') from None
    if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
        raise place.error(None, f"holds {flat.type}, not numbers")
    with np.errstate(over="ignore"):
        # A missing number becomes NaN here, and what float32 cannot hold infinite: both are refused later.
        return flat.to_numpy(zero_copy_only=False).astype(np.float32)


def _runs(column: pa.Array, place: Place) -> _Runs:
    if column.null_count:
        raise place.error(first_true(pc.is_null(column)), "has no vector; leave such rows out of the table")
    if is_text(column.type):
        column = pc.split_pattern(column, ";")
    if not is_list(column.type):
        raise place.error(None, f'is {column.type}; a vector is a list of numbers, or text with ","')
    rows = np.arange(len(column), dtype=np.int64)
    inner = column.flatten()
    if is_list(inner.type) or is_text(inner.type):
        rows = np.repeat(rows, _lengths(column))
        if inner.null_count:
            raise place.error(int(rows[first_true(pc.is_null(inner))]), "holds a vector that is null")
        column = pc.split_pattern(inner, ",") if is_text(inner.type) else inner
    runs = _Runs(_numbers(column.flatten(), place), _lengths(column), rows)
    if not np.isfinite(runs.values).all():
        position = first_true(~np.isfinite(runs.values))
        vector = np.searchsorted(np.cumsum(runs.lengths), position, side="right")
        raise place.error(
            int(rows[vector]), "holds a number that is NaN, infinite or missing; a vector must be finite"
        )
    return runs


def read_vectors(column: pa.Array | pa.ChunkedArray, place: Place, dim: int | None = None) -> np.ndarray:
    """A column with one vector a row, as float32 [rows, dim].

    Args:
        column: lists of numbers, or text with "," between numbers.
        place: for errors.
        dim: the length every vector must have; that of the first one when None.

    Raises:
        UserError: a row without a vector, a number that is not finite, two lengths.
    """
    runs = _runs(plain(column), place)
    count = np.bincount(runs.rows, minlength=len(column))
    if (count != 1).any():
        row = first_true(count != 1)
        raise place.error(row, f"has {count[row]} vectors; one is wanted")
    if not len(column):
        return np.empty((0, dim or 0), np.float32)
    dim = int(runs.lengths[0]) if dim is None else dim
    if (runs.lengths != dim).any() or dim == 0:
        row = first_true((runs.lengths != dim) | (runs.lengths == 0))
        raise place.error(row, f"a vector of {runs.lengths[row]} numbers; the others have {dim}")
    return runs.values.reshape(-1, dim)


class Interests(NamedTuple):
    """Several vectors a row.

    Attributes:
        vectors: float32 [V, dim], those of one row side by side.
        rows: int64 [V], the row of each vector, ascending.
        slots: int64 [V], its number within the row, from 0.
    """

    vectors: np.ndarray
    rows: np.ndarray
    slots: np.ndarray


def read_interests(
    column: pa.Array | pa.ChunkedArray,
    place: Place,
    dim: int,
    most: int = 1,
    valid: pa.Array | pa.ChunkedArray | None = None,
) -> Interests:
    """A column with up to `most` vectors of `dim` numbers a row.

    A row is a list of vectors, a flat list of their numbers, or text with ";" between vectors.

    Args:
        column: the vectors.
        place: for errors.
        dim: numbers a vector.
        most: how many vectors a row may hold.
        valid: integers [rows], how many of a row's vectors count; all when None.

    Raises:
        UserError: as `read_vectors`; a row with more vectors than `most`, or fewer than `valid` says.
    """
    runs = _runs(plain(column), place)
    wrong = (runs.lengths % dim != 0) | (runs.lengths == 0)
    if wrong.any():
        at = first_true(wrong)
        raise place.error(
            int(runs.rows[at]), f"a vector of {runs.lengths[at]} numbers; those of the items have {dim}"
        )
    held = np.bincount(runs.rows, runs.lengths // dim, minlength=len(column)).astype(np.int64)
    if (held > most).any():
        row = first_true(held > most)
        raise place.error(
            row, f"{held[row]} vectors of {dim} numbers; at most {most} expected (see --num_interests)"
        )
    rows = np.repeat(np.arange(len(column), dtype=np.int64), held)
    slots = np.arange(len(rows), dtype=np.int64) - np.repeat(np.cumsum(held) - held, held)
    vectors = runs.values.reshape(-1, dim)
    if valid is None:
        return Interests(vectors, rows, slots)
    kept = slots < _valid_counts(valid, held, place)[rows]
    return Interests(vectors[kept], rows[kept], slots[kept])


def _valid_counts(valid: pa.Array | pa.ChunkedArray, held: np.ndarray, place: Place) -> np.ndarray:
    valid = plain(valid)
    if not pa.types.is_integer(valid.type):
        raise place.error(
            None, f"--num_interests_field is {valid.type}; how many vectors count is an integer"
        )
    absent = np.asarray(pc.is_null(valid))
    counts = pc.fill_null(valid, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    wrong = (counts < 0) | (counts > held)
    if wrong.any():
        row = first_true(wrong)
        said = "null" if absent[row] else counts[row]
        raise place.error(
            row, f"--num_interests_field says {said}, the row holds {held[row]}; give 0 to {held[row]}"
        )
    return counts
