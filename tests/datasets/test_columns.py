"""Columns come back from their files as they were appended, whole and row by row."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.datasets.columns import ColumnWriter, is_column_type, read_column, restore

LETTERS = "aé漢\x1d\n"
SCALARS = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(LETTERS, max_size=5),
    pa.large_string(): st.text(LETTERS, max_size=5),
}


@st.composite
def columns(draw) -> tuple[pa.DataType, list[list[object]]]:
    """A type and some blocks of values of it, nulls among them."""
    kind = draw(st.sampled_from(list(SCALARS)))
    value = st.none() | SCALARS[kind]
    shape = draw(st.sampled_from(["scalar", "list", "list of lists", "map"]))
    if shape == "map":
        key = draw(st.sampled_from([pa.int32(), pa.int64(), pa.string()]))
        value = st.none() | st.lists(st.tuples(SCALARS[key], value), max_size=3)
        kind = pa.map_(key, kind)
    for _ in range({"scalar": 0, "list": 1, "list of lists": 2, "map": 0}[shape]):
        value = st.none() | st.lists(value, max_size=3)
        kind = pa.list_(kind)
    return kind, draw(st.lists(st.lists(value, max_size=6), min_size=1, max_size=4))


@settings(deadline=None, max_examples=60)
@given(columns(), st.data())
def test_any_column(column, data) -> None:
    kind, blocks = column
    with tempfile.TemporaryDirectory() as folder:
        writer = ColumnWriter(Path(folder), "column", kind)
        for block in blocks:
            # A slice, for its offsets do not begin at 0.
            writer.append(pa.array([None, *block], kind)[1:])
        writer.close()
        values = [value for block in blocks for value in pa.array(block, kind).to_pylist()]
        found = read_column(Path(folder), "column", kind, len(values))
        found.validate(full=True)
        rows = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=9)) if values else []
        taken = restore(found.take(pa.array(rows, pa.int64())), kind)
        taken.validate(full=True)
        assert taken.type == kind
        assert taken.to_pylist() == [values[row] for row in rows]


@pytest.mark.parametrize("kind", [pa.date32(), pa.binary(), pa.list_(pa.struct([("a", pa.int64())]))])
def test_types_that_no_feature_reads(kind: pa.DataType) -> None:
    assert not is_column_type(kind)
