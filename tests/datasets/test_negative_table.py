"""The negative table: what it becomes, how it is cached, what is refused and where."""

import errno
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.files import DataFile
from tzrec.datasets.negative_table import open_table
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
    assert found.row_of_each(pa.array([3, 99, 7, 3])).tolist() == [1, -1, 0, 1]
    assert found.rows_of_keys(np.array([3, 99, 7])).tolist() == [1, -1, 0]
    assert found.keys.tolist() == [7, 3]
    assert found.total_weight == 3.5


def test_text_columns_get_the_separator_of_their_feature(tmp_path: Path) -> None:
    types = [AttributeType("tags", pa.string(), "|")]
    assert table(tmp_path, HEADER + "1\t1\ta\x1db\n", types).columns["tags"].to_pylist() == ["a|b"]


def test_fg_none_separates_values_of_lists_in_two_ways(tmp_path: Path) -> None:
    types = [AttributeType("tags", pa.list_(pa.int64()), "\x03", "\x03")]
    found = table(tmp_path, HEADER + "1\t1\t4\x035\x1d6\n", types)
    assert found.columns["tags"].to_pylist() == [[4, 5, 6]]


def test_every_array_is_a_memory_map_of_one_copy(tmp_path: Path) -> None:
    found = table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n")
    assert all(isinstance(array, np.memmap) for array in (found.alias, found.index.keys, found.threshold))
    (folder,) = [entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]
    before = (folder / "buckets").stat().st_mtime_ns
    table_again = open_table(str(tmp_path / "table.txt"), TYPES, "\x02", "\t", tmp_path / "cache")
    assert len(table_again) == 1
    assert (folder / "buckets").stat().st_mtime_ns == before


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n")
    changed = table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n2\t1\t2\x02b\x022\n")
    assert len(changed) == 2


def test_parquet_with_attributes_joined_and_apart(tmp_path: Path) -> None:
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


def parquet(folder: Path, columns: dict, types=TYPES, **options):
    pq.write_table(pa.table(columns), folder / "table.parquet", row_group_size=2)
    return open_table(str(folder / "table.parquet"), types, "\x02", "\t", folder / "cache", **options)


def test_parquet_with_dictionaries_and_texts_of_the_attributes(tmp_path: Path) -> None:
    columns = {
        "id": pa.array(["a", "b", "c"]).dictionary_encode(),
        "weight": pa.array([1, 2, 3], pa.int32()),
        "item": pa.array([1, None, 3], pa.int32()),
        "tags": pa.array(["x\x1dy", None, ""]).dictionary_encode(),
        "price": pa.array(["1.5", "", "2"], pa.large_string()),
        "other": [0, 0, 0],
    }
    found = parquet(tmp_path, columns)
    assert found.text_ids
    assert found.take(np.arange(3), ["item"])["item"].to_pylist() == [1, None, 3]
    assert found.take(np.arange(3), ["tags"])["tags"].to_pylist() == [["x", "y"], [], []]
    assert found.take(np.arange(3), ["price"])["price"].to_pylist() == [1.5, None, 2.0]
    ids = pa.array(["c", "a", "c", "z"]).dictionary_encode()
    assert found.row_of_each(ids).tolist() == [2, 0, 2, -1]


GOOD = {
    "id": [1, 2, 3],
    "weight": [1.0, 1.0, 1.0],
    "item": [1, 2, 3],
    "tags": [["a"]] * 3,
    "price": [0.5] * 3,
}
BAD_PARQUET = {
    "id null": ({"id": [1, None, 3]}, "table.parquet:row 2: an id is null"),
    "id of floats": ({"id": [1.0, 2.0, 3.0]}, "the column id is double; ids are integers or text"),
    "id beyond int64": (
        {"id": pa.array([1, 2, 2**63], pa.uint64())},
        f"row 3: the id {2**63} is outside the range of int64",
    ),
    "id twice": ({"id": [1, 2, 1]}, "table.parquet:row 3: the id 1 stands twice"),
    "text id twice": ({"id": ["x", "y", "x"]}, "table.parquet:row 3: the id x stands twice"),
    "weight null": ({"weight": [1.0, 1.0, None]}, "row 3: a weight is missing"),
    "weight nan": ({"weight": [1.0, float("nan"), 1.0]}, "row 2: the weight nan is not finite"),
    "weight negative": ({"weight": [1, 1, -1]}, "row 3: the weight -1 is negative"),
    "attribute as text": ({"price": ["1", "2", "x"]}, "row 3: attribute \"price\": 'x' is no double"),
    "attribute of a fraction": ({"item": [1.0, 2.0, 2.5]}, 'row 3: attribute "item": 2.5 is outside'),
    "attrs null": ({"attrs": ["1\x02\x021", None, "3\x02\x021"]}, "row 2: the attributes are None"),
    "no column": ({"price": None}, 'no column "price"'),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PARQUET)
def test_bad_parquet_says_the_row(tmp_path: Path, name: str) -> None:
    changed, message = BAD_PARQUET[name]
    columns = {key: column for key, column in (GOOD | changed).items() if column is not None}
    with pytest.raises(UserError) as caught:
        parquet(tmp_path, columns)
    assert message in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_double_that_is_no_float(tmp_path: Path) -> None:
    types = [AttributeType("item", pa.float32(), "\x1d")]
    columns = {"id": [1, 2], "weight": [1, 1]}
    infinite = parquet(tmp_path, columns | {"item": [float("inf"), float("nan")]}, types)
    assert infinite.take(np.array([0]), ["item"])["item"].to_pylist() == [float("inf")]
    with pytest.raises(UserError, match=r'row 2: attribute "item": 1e\+39 is outside the range of float'):
        parquet(tmp_path, columns | {"item": [1.0, 1e39]}, types)


def test_what_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"table\.parquet: cannot be read as parquet"):
        open_table(str(tmp_path / "table.parquet"), TYPES, "\x02", "\t", tmp_path / "cache")


def test_several_files_count_their_own_lines(tmp_path: Path) -> None:
    lines = HEADER + "1\t1\t1\x02a\x021\n2\t1\t1\x02a\x021\n"
    (tmp_path / "a.txt").write_text(lines)
    (tmp_path / "b.txt").write_text(HEADER + "3\t1\t1\x02a\x021\n2\t1\t1\x02a\x021\n")
    with pytest.raises(UserError, match=r"b\.txt:3: the id 2 stands twice"):
        open_table(f"{tmp_path}/?.txt", TYPES, "\x02", "\t", tmp_path / "cache")
    (tmp_path / "b.txt").write_text(HEADER.replace("int64", "string") + "x\t1\t1\x02a\x021\n")
    with pytest.raises(UserError, match=r"b\.txt has text ids, the files before it have not"):
        open_table(f"{tmp_path}/?.txt", TYPES, "\x02", "\t", tmp_path / "cache")


@pytest.mark.parametrize("name", ["table.txt", "table.parquet"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, monkeypatch) -> None:
    def refuse(file: DataFile) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / name).touch()
    monkeypatch.setattr(DataFile, "open", refuse)
    with pytest.raises(UserError, match=f"{name}: cannot be read .*Permission denied"):
        open_table(str(tmp_path / name), TYPES, "\x02", "\t", tmp_path / "cache")


def test_any_file_system(tmp_path: Path) -> None:
    with fsspec.open("memory://pools/table.txt.gz", "wb") as file:
        file.write(gzip.compress((HEADER + "7\t1\t7\x02a\x021\n").encode()))
    found = open_table("memory://pools/table.txt.gz", TYPES, "\x02", "\t", tmp_path / "cache")
    assert found.row_of_each(pa.array([7])).tolist() == [0]


def test_ids_of_a_batch(tmp_path: Path) -> None:
    found = table(tmp_path, HEADER + "".join(f"{item}\t1\t1\x02a\x021\n" for item in (30, 10, 20)))
    assert found.row_of_each(pa.array([10, None, 99, 30, 10])).tolist() == [1, -1, -1, 0, 1]
    assert found.row_of_each(pa.array([], pa.int64())).tolist() == []
    assert found.row_of_each(pa.array(["10"])).tolist() == [1]
    with pytest.raises(UserError, match='"id:string"'):
        found.row_of_each(pa.array(["ten"]))


@pytest.mark.parametrize(
    ("types", "options", "message"),
    [
        ([AttributeType("day", pa.date32(), "\x1d")], {}, 'attribute "day" has the type date32'),
        (TYPES, {"field_delimiter": "||"}, "is not one ASCII character"),
        (TYPES, {"attr_delimiter": ""}, "attr_delimiter is empty"),
    ],
)
def test_what_no_table_can_have(tmp_path: Path, types, options, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        table(tmp_path, HEADER + "1\t1\tx\n", types, **options)


SCRIPT = """
import os, sys
from pathlib import Path
import pyarrow as pa
from tzrec.datasets import cache, negative_table
from tzrec.datasets.attributes import AttributeType
folder = Path(sys.argv[1])
if sys.argv[2] == "killed":
    cache._sync = lambda staging: os._exit(9)
types = [AttributeType("n", pa.int64(), "\x1d")]
found = negative_table.open_table(str(folder / "table.txt"), types, ":", "\t", folder / "cache")
[made] = [entry for entry in (folder / "cache").iterdir() if entry.is_dir()]
print(len(found), (made / "keys").stat().st_ino)
"""


def start(folder: Path, how: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), how], stdout=subprocess.PIPE, text=True
    )


def test_a_build_that_is_killed_and_many_that_start_at_once(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text(HEADER + "".join(f"{item}\t1\t{item}\n" for item in range(500)))
    killed = start(tmp_path, "killed")
    killed.communicate()
    assert killed.returncode == 9
    [left] = [entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]
    assert left.name.endswith(".unfinished")
    (left / "left over").touch()
    lines = {process.communicate()[0] for process in [start(tmp_path, "whole") for _ in range(3)]}
    assert len(lines) == 1
    assert lines.pop().startswith("500 ")
    [made] = [entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]
    assert not (made / "left over").exists()


def test_a_full_disk_is_an_error_and_no_signal(tmp_path: Path, monkeypatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="No space left on device"):
        table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(UserError, match="TZREC_CACHE_DIR"):
        table(tmp_path, HEADER + "1\t1\t1\x02a\x021\n", cache=locked / "cache")
