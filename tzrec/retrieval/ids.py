"""Columns of ids, one or several a row, as Arrow text: ids of any type compare as text."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.retrieval.vectors import Place, first_true, is_list, is_text, plain


def as_text(values: pa.Array, place: Place) -> pa.Array:
    """Ids as large_string, nulls kept: integers in decimal, text as it stands.

    Raises:
        UserError: ids of another type.
    """
    if not (pa.types.is_integer(values.type) or is_text(values.type) or pa.types.is_null(values.type)):
        raise place.error(None, f"is {values.type}; ids are integers or text")
    return pc.cast(values, pa.large_string())


def read_ids(column: pa.Array | pa.ChunkedArray, place: Place) -> pa.Array:
    """A column of ids, one a row, as large_string; none null, empty or with a line break.

    Raises:
        UserError: an id that is one of these, a column of another type.
    """
    ids = as_text(plain(column), place)
    empty = pc.fill_null(pc.equal(pc.binary_length(ids), 0), True)
    if pc.any(empty).as_py():
        raise place.error(first_true(empty), "the id is null or empty; every item needs one")
    broken = pc.match_substring_regex(ids, "[\n\r]")
    if pc.any(broken).as_py():
        row = first_true(broken)
        raise place.error(
            row, f"the id {ids[row].as_py()!r} contains a line break; id_mapping is one id a line"
        )
    return ids


def read_id_lists(column: pa.Array | pa.ChunkedArray, place: Place) -> tuple[pa.Array, np.ndarray]:
    """A column of any number of ids a row: one integer, text with "," between ids, or a list.

    Nulls and empty ids are left out; spaces belong to the id.

    Returns:
        Ids as large_string [V], and the int64 [V] rows they stand in, ascending.
    """
    column = plain(column)
    if is_text(column.type):
        column = pc.split_pattern(column, ",")
    if is_list(column.type):
        rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
        texts = as_text(plain(column.flatten()), place)
    else:
        rows, texts = np.arange(len(column), dtype=np.int64), as_text(column, place)
    filled = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    return texts.filter(filled), rows[np.asarray(filled)]
