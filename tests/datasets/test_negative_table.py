"""The negative table: what it becomes, how it is cached, what is refused and where."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.datasets.negative_table import open_table
from tzrec.datasets.attributes import AttributeType
from tzrec.runtime.errors import UserError

HEADER = "id:int64\tweight:float\tattrs:string\n"
TYPES = [
    AttributeType("item", pa.int64(), "\x1d"),
    AttributeType("tags", pa.list_(pa.string()), "\x1d"),
    AttributeType("price", pa.float64(), "\x1d"),
]


def table(folder: Path, text: str, types=TYPES, **options):
    path = folder / "table.txt"
    path.write_bytes(text.encode("utf-8"))
    options = {"attr_delimiter": "\x02", "field_delimiter": "\t", "cache": folder / "cache", **options}
    return open_table(str(path), types, **options)


def test_attributes_take_the_types_of_the_training_columns(tmp_path: Path) -> None:
    found = table(tmp_path, HEADER + "7\t1.5\t7\x02a\x1db\x021.25\n3\t2\t3\x02\x02\n")
    taken = found.take(np.array([1, 0, 0]), ["tags", "item", "price"])
    assert {name: column.type for name, column in taken.items()} == {kind.name: kind.type for kind in TYPES}
    assert {name: column.to_pylist() for name, column in taken.items()} == {
        "tags": [[], ["a", "b"], ["a", "b"]],
        "item": [3, 7, 7],
        "price": [None, 1.25, 1.25],
    }
    assert found.weights.tolist() == [1.5, 2.0]
    assert found.rows_of(pa.array([3, 99, 7, 3])).tolist() == [0, 1]


def test_text_columns_get_the_separator_of_their_feature(tmp_path: Path) -> None:
    types = [AttributeType("tags", pa.string(), "|")]
    assert table(tmp_path, HEADER + "1\t1\ta\x1db\n", types).columns["tags"].to_pylist() == ["a|b"]


def test_fg_none_separates_values_of_lists_in_two_ways(tmp_path: Path) -> None:
    types = [AttributeType("tags", pa.list_(pa.int64()), "\x03", "\x03")]
    found = table(tmp_path, HEADER + "1\t1\t4\x035\x1d6\n", types)
    assert found.columns["tags"].to_pylist() == [[4, 5, 6]]


def test_every_array_is_a_memory_map_of_one_copy(tmp_path: Path) -> None:
    found = table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n")
    assert all(isinstance(array, np.memmap) for array in (found.alias, found.ids.keys, found.threshold))
    (folder,) = [entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]
    before = (folder / "buckets").stat().st_mtime_ns
    table_again = open_table(str(tmp_path / "table.txt"), TYPES, "\x02", "\t", tmp_path / "cache")
    assert len(table_again) == 1
    assert (folder / "buckets").stat().st_mtime_ns == before


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n")
    changed = table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n2\t1\t2\x02b\x022\n")
    assert len(changed) == 2


def test_folders_gzip_and_parquet(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": [1, 2], "weight": [1.0, 3.0], "attrs": ["1\x02a\x021", "2\x02b\x022"]}),
        tmp_path / "joined.parquet",
    )
    pq.write_table(
        pa.table({"id": [5], "weight": [1.0], "item": [5], "tags": [["x"]], "price": [0.5]}),
        tmp_path / "apart.parquet",
    )
    paths = f"{tmp_path / 'joined.parquet'},{tmp_path / 'apart.parquet'}"
    found = open_table(paths, TYPES, "\x02", "\t", tmp_path / "cache")
    assert found.columns["item"].to_pylist() == [1, 2, 5]
    assert found.columns["tags"].to_pylist() == [["a"], ["b"], ["x"]]


BAD = {
    "header": ("id\tweight\tattrs\n1\t1\t1\x02a\x021\n", r"table.txt:1: the header is"),
    "columns": (HEADER + "1\t1\t1\x02a\x021\n2\t1\n", r"table.txt:3: 2 columns where"),
    "id": (HEADER + "x9\t1\t1\x02a\x021\n", r"table.txt:2: the id 'x9' is no int64"),
    "weight": (HEADER + "1\tmuch\t1\x02a\x021\n", r"table.txt:2: the weight 'much' is no double"),
    "nan": (HEADER + "1\tnan\t1\x02a\x021\n", r"table.txt:2: the weight 'nan' is no double"),
    "infinite": (HEADER + "1\t1e999\t1\x02a\x021\n", r"table.txt:2: the weight '1e999' is outside the range of double"),
    "negative": (
        HEADER + "1\t1\t1\x02a\x021\n2\t-1\t1\x02a\x021\n",
        r"table.txt:3: the weight -1.0 is negative",
    ),
    "twice": (
        HEADER + "1\t1\t1\x02a\x021\n2\t1\t2\x02a\x021\n1\t1\t1\x02a\x021\n",
        r"table.txt:4: the id 1 stands twice",
    ),
    "too few attributes": (HEADER + "1\t1\t1\x02a\n", r"table.txt:2: 2 attributes where attr_fields names 3"),
    "attribute type": (
        HEADER + "1\t1\tone\x02a\x021\n",
        r"table.txt:2: attribute \"item\": 'one' is no int64",
    ),
    "no weight": (HEADER + "1\t0\t1\x02a\x021\n", r"all 1 weights are zero"),
    "empty": (HEADER, r"has no item"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_tables_say_file_and_line_and_leave_no_cache(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(UserError, match=message):
        table(tmp_path, text)
    left = [entry for entry in (tmp_path / "cache").iterdir() if not entry.name.endswith(".lock")]
    assert left == []


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_bytes(HEADER.encode() + b"1\t1\t1\x02\xff\xfe\x021\n")
    with pytest.raises(UserError, match=r"table\.txt"):
        open_table(str(tmp_path / "table.txt"), TYPES, "\x02", "\t", tmp_path / "cache")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(UserError, match="TZREC_CACHE_DIR"):
        table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n", cache=locked / "cache")
