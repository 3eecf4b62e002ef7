import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.preparation.support import negatives, read
from tzrec.preparation.config_text import Paths, Word, quoted, render
from tzrec.preparation.tables import negative_weights, write_negatives, write_parts
from tzrec.runtime.errors import UserError

SCHEMA = pa.schema([("x", pa.int64())])


def numbers(start, stop):
    return pa.table({"x": np.arange(start, stop)}, SCHEMA)


def test_parts_hold_all_rows_in_order_in_groups_of_64k(tmp_path):
    pieces = [numbers(0, 100_000), numbers(100_000, 100_001), numbers(100_001, 150_000)]
    assert write_parts(tmp_path / "t", pieces, SCHEMA, 150_000, least=2) == 150_000
    assert read(tmp_path / "t")["x"].to_pylist() == list(range(150_000))
    groups = [
        [pq.read_metadata(path).row_group(i).num_rows for i in range(pq.read_metadata(path).num_row_groups)]
        for path in sorted((tmp_path / "t").iterdir())
    ]
    assert groups == [[65_536, 9_464], [65_536, 9_464]]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_rows_than_parts_are_one_part(tmp_path, count):
    write_parts(tmp_path / "t", [numbers(0, count)], SCHEMA, count, least=2)
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["part-00000.parquet"]
    assert read(tmp_path / "t").num_rows == count


def test_negative_table_as_text(tmp_path):
    items = pa.table(
        {
            "id": [7, 8],
            "brand": pa.array([None, 5], pa.int64()),
            "price": [170.0, 0.25],
            "genres": [["a", "b"], []],
            "name": ["é", None],
        }
    )
    attributes = ["id", "brand", "price", "genres", "name"]
    write_negatives(tmp_path / "n", items, "id", attributes, np.array([1.0, 2.5]))
    assert (tmp_path / "n").read_bytes().decode() == (
        "id:int64\tweight:float\tattrs:string\n"
        "7\t1\t7\x02\x02170\x02a\x1db\x02é\n"
        "8\t2.5\t8\x025\x020.25\x02\x02\n"
    )


def test_one_attribute_is_enough(tmp_path):
    write_negatives(tmp_path / "n", pa.table({"id": [7]}), "id", ["id"], np.ones(1))
    assert negatives(tmp_path / "n") == [(7, 1.0, ["7"])]


def test_an_attribute_with_a_character_of_the_format_is_refused(tmp_path):
    items = pa.table({"id": [7], "name": ["a\tb"]})
    with pytest.raises(UserError, match=r"the name 'a\\tb' contains"):
        write_negatives(tmp_path / "n", items, "id", ["id", "name"], np.ones(1))


def test_weights():
    assert negative_weights(np.array([0, 3, 99]), 0.5).tolist() == [1, 2, 10]
    assert negative_weights(np.array([0, 3, 99]), 0.0).tolist() == [1, 1, 1]


def test_text_format():
    fields = [("a", 1), ("b", [("c", Word("X")), ("d", (1, 2.5))]), ("e", []), ("f", True), ("#", "why")]
    assert render(fields) == "a: 1\nb {\n  c: X\n  d: [1, 2.5]\n}\ne {}\nf: true\n# why\n"
    assert quoted('a"\\\x02é') == '"a\\"\\\\\\x02é"'


def test_paths_stay_as_the_user_wrote_them():
    paths = Paths.under("data/demo/")
    assert paths == Paths(
        "data/demo/train/*.parquet", "data/demo/eval/*.parquet", "data/demo/negatives.txt", "experiments/demo"
    )
