"""Columns of vectors and ids in every shape a table may have them."""

import numpy as np
import pyarrow as pa
import pytest

from tzrec.retrieval.ids import read_id_lists, read_ids
from tzrec.retrieval.vectors import Place, read_interests, read_vectors
from tzrec.runtime.errors import UserError

PLACE = Place("--table", "column", 100)
ROWS = [[0.5, -1.0], [2.0, 3.0], [4.0, 5.0]]

COLUMNS = {
    "list float32": pa.array(ROWS, pa.list_(pa.float32())),
    "list float64": pa.array(ROWS, pa.list_(pa.float64())),
    "large list": pa.array(ROWS, pa.large_list(pa.float32())),
    "fixed size list": pa.array(ROWS, pa.list_(pa.float32(), 2)),
    "text": pa.array(["0.5,-1", "2, 3.0", "4e0,5"]),
    "large text": pa.array(["0.5,-1", "2,3", "4,5"], pa.large_string()),
    "dictionary of text": pa.array(["0.5,-1", "2,3", "4,5"]).dictionary_encode(),
    "list of one list": pa.array([[row] for row in ROWS], pa.list_(pa.list_(pa.float32()))),
    "chunked": pa.chunked_array([pa.array(ROWS[:1]), pa.array(ROWS[1:])]),
    "a slice": pa.array([[9.0, 9.0], *ROWS, [8.0, 8.0]], pa.list_(pa.float32()))[1:4],
    "a slice of fixed size": pa.array([[9.0, 9.0], *ROWS], pa.list_(pa.float32(), 2))[1:],
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS.keys())
def test_every_type_gives_the_same_vectors(column):
    vectors = read_vectors(column, PLACE)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, ROWS)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([[1.0, 2.0], None]), "row 101 .*no vector"),
        (pa.array([[1.0, 2.0], [1.0]]), "row 101 .*1 numbers; the others have 2"),
        (pa.array([[1.0, 2.0], [1.0, None]]), "row 101 .*missing"),
        (pa.array([[1.0, 2.0], [1.0, float("nan")]]), "row 101 .*NaN"),
        (pa.array([[1.0, 2.0], [1e300, 1.0]]), "row 101 .*infinite"),
        (pa.array(["1,2", "1,inf"]), "row 101 .*infinite"),
        (pa.array(["1,2", "1,x"]), "'x'"),
        (pa.array(["1,2", "1,2;3,4"]), "row 101 .*2 vectors; one"),
        (pa.array([[], []], pa.list_(pa.float32())), "row 100"),
        (pa.array([[[True]]]), "not numbers"),
        (pa.array([1.0]), "is double; a vector is a list"),
    ],
)
def test_what_is_no_vector_is_refused_with_its_row(column, said):
    with pytest.raises(UserError, match=rf'--table: column "column".*{said}'):
        read_vectors(column, PLACE)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0, 2, 3, 4], [5, 6], []], pa.list_(pa.float32())),
        pa.array([[[1.0, 2], [3, 4]], [[5, 6]], []], pa.list_(pa.list_(pa.float64()))),
        pa.array([["1,2", "3,4"], ["5,6"], []], pa.list_(pa.string())),
    ],
    ids=["flat", "nested", "lists of text"],
)
def test_several_vectors_a_row(column):
    # An empty flat list is an empty vector, an empty outer list is a row without one.
    column = column[:2] if pa.types.is_floating(column.type.value_type) else column
    read = read_interests(column, PLACE, dim=2, most=2)
    np.testing.assert_array_equal(read.vectors, [[1, 2], [3, 4], [5, 6]])
    assert read.rows.tolist() == [0, 0, 1]
    assert read.slots.tolist() == [0, 1, 0]


def test_several_vectors_in_text_and_how_many_count():
    column = pa.array(["1,2;3,4", "5,6;7,8", "9,10"])
    read = read_interests(column, PLACE, 2, 2, pa.array([1, 2, 0]))
    np.testing.assert_array_equal(read.vectors, [[1, 2], [5, 6], [7, 8]])
    assert (read.rows.tolist(), read.slots.tolist()) == ([0, 1, 1], [0, 0, 1])


@pytest.mark.parametrize(
    ("valid", "most", "said"),
    [
        (pa.array([3, 1]), 2, "row 100 .*--num_interests_field says 3, the row holds 2"),
        (pa.array([None, 1], pa.int64()), 2, "row 100 .*--num_interests_field says null"),
        (pa.array([1.0, 1.0]), 2, "is double; .* an integer"),
        (None, 1, "row 100 .*2 vectors of 2 numbers; at most 1 .*--num_interests"),
    ],
)
def test_a_wrong_number_of_interests(valid, most, said):
    with pytest.raises(UserError, match=said):
        read_interests(pa.array(["1,2;3,4", "5,6"]), PLACE, 2, most, valid)


def test_interests_of_another_length_than_the_items():
    with pytest.raises(UserError, match=r"row 100 .*3 numbers; those of the items have 2"):
        read_interests(pa.array([[1.0, 2.0, 3.0]]), PLACE, 2)


@pytest.mark.parametrize("column", [pa.array([7, 2**60], pa.int64()), pa.array(["7", str(2**60)])])
def test_ids_are_text(column):
    assert read_ids(column, PLACE).to_pylist() == ["7", "1152921504606846976"]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a", None]), "row 101 .*null or empty"),
        (pa.array(["a", ""]), "row 101 .*null or empty"),
        (pa.array(["a", "b\nc"]), "row 101 .*line break"),
        (pa.array(["a", "b\r"]), "row 101 .*line break"),
        (pa.array([1.5]), "integers or text"),
    ],
)
def test_ids_that_cannot_be_lines(column, said):
    with pytest.raises(UserError, match=said):
        read_ids(column, PLACE)


@pytest.mark.parametrize(
    ("column", "texts", "rows"),
    [
        (pa.array([5, None, 2**60]), ["5", str(2**60)], [0, 2]),
        (pa.array(["5,a b", "", None, "c,,d"]), ["5", "a b", "c", "d"], [0, 0, 3, 3]),
        (pa.array([[5, 6], None, [], [None, 7]], pa.list_(pa.int32())), ["5", "6", "7"], [0, 0, 3]),
        (pa.array([["5,6", "x"]], pa.large_list(pa.string())), ["5,6", "x"], [0, 0]),
        (pa.array([[1], [2, 3], [4]])[1:], ["2", "3", "4"], [0, 0, 1]),
        (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)), ["1", "2", "3", "4"], [0, 0, 2, 2]),
    ],
    ids=["scalar", "text", "list", "list of text", "slice", "fixed size"],
)
def test_lists_of_ids(column, texts, rows):
    found, at = read_id_lists(column, PLACE)
    assert found.to_pylist() == texts
    assert at.tolist() == rows
