"""CSV tables keep what parquet tables keep, and say where they are wrong."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tzrec.datasets import csv
from tzrec.datasets.csv import CsvTable
from tzrec.datasets.loader import Loader
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World

TYPES = {"n": pa.int64(), "x": pa.float32(), "t": pa.string()}


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return str(path)


def rows(table: CsvTable) -> list[dict]:
    return pa.Table.from_batches(list(table.batches(0, table.num_rows)), table.schema).to_pylist()


def test_without_a_header(tmp_path: Path) -> None:
    table = CsvTable(write(tmp_path / "a.csv", "1,0.5,a\n2,,\n"), types=TYPES)
    assert table.num_rows == 2
    # An empty field is null in a column of numbers and empty in one of text.
    assert rows(table) == [{"n": 1, "x": 0.5, "t": "a"}, {"n": 2, "x": None, "t": ""}]


def test_with_a_header_types_are_given_or_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'n\tx\tt\r\n1\t0.5\t"a\tb"\r\n\r\n2\t1\tc\r\n')
    table = CsvTable(path, ["t", "n", "x"], delimiter="\t", header=True)
    assert table.schema == pa.schema([("t", pa.string()), ("n", pa.int64()), ("x", pa.float64())])
    assert rows(table) == [{"t": "a\tb", "n": 1, "x": 0.5}, {"t": "c", "n": 2, "x": 1.0}]
    told = CsvTable(path, ["n"], types={"n": pa.string()}, delimiter="\t", header=True)
    assert told.schema.field(0).type == pa.string()


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_of_any_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    monkeypatch.setattr(csv, "BLOCK", data.draw(st.integers(8, 64)))
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    count = data.draw(st.integers(1, 60))
    lines = [f"{i},{i / 2},t{i}" + data.draw(st.sampled_from(["\n", "\r\n", "\n\n"])) for i in range(count)]
    cut = data.draw(st.integers(0, count))
    for name, part in (("a", lines[:cut]), ("b", lines[cut:])):
        write(folder / f"{name}.csv", "".join(part).rstrip() if name == "b" else "".join(part))
    table = CsvTable(str(folder), ["n"], types=TYPES)
    assert table.num_rows == count
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    read = [n for batch in table.batches(start, stop) for n in batch["n"].to_pylist()]
    assert read == list(range(start, stop))
    loader = Loader(table, World(), lambda batch, *_: batch["n"].to_pylist(), 7, buffer_rows=16)
    assert sorted(n for batch in loader.batches() for n in batch) == list(range(count))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,a\n3,4\n", r"a\.csv:2: 2 fields, the table has 3"),
        ("1,2,a\n\nx,4,b\n", r'a\.csv:3: column "n": "x" is no int64'),
        ("1,2,a\n3,y,b\n", r'a\.csv:2: column "x": "y" is no float'),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows(CsvTable(write(tmp_path / "a.csv", text), types=TYPES))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('1,1,"a\nb"\n2,2,c\n3,3,d', 1),
        ('1,1,a\n2,2,"b\n3,3,c"\n4,4,d\n', 2),
        ('1,1,"a ""q"""\n\n2,2,"b\n\n3,3,c"\n', 3),
    ],
)
def test_a_quoted_line_break_is_told(tmp_path: Path, text: str, line: int) -> None:
    table = CsvTable(write(tmp_path / "a.csv", text), types=TYPES)
    loader = Loader(table, World(), lambda batch, *_: batch.num_rows, 2)
    with pytest.raises(UserError, match=rf"a\.csv:{line}: a quoted value goes on in the next line"):
        list(loader.batches())


@pytest.mark.parametrize("header", [True, False])
def test_a_carriage_return_within_a_line_is_told(tmp_path: Path, header: bool) -> None:
    path = write(tmp_path / "a.csv", "n,x,t\r\n1,1,a\n2,2,b\r3,3,c\n")
    with pytest.raises(UserError, match=r"a\.csv:3: a carriage return within the line"):
        CsvTable(path, types=None if header else TYPES, header=header)
    with pytest.raises(UserError, match=r"a\.csv:1: a carriage return"):
        CsvTable(write(tmp_path / "a.csv", "n,x,t\r1,1,a\r"), types=TYPES, header=header)


def test_only_an_empty_field_is_null(tmp_path: Path) -> None:
    for text in ("NA", "NULL", "#N/A", "nan"):
        with pytest.raises(UserError, match=rf'a\.csv:2: column "n": "{text}" is no int64'):
            rows(CsvTable(write(tmp_path / "a.csv", f"1,1,a\n{text},2,b\n"), types=TYPES))
    with pytest.raises(UserError, match=r'column "x": "NA" is no float'):
        rows(CsvTable(write(tmp_path / "a.csv", "1,NA,a\n"), types=TYPES))
    (row,) = rows(CsvTable(write(tmp_path / "a.csv", "1,nan,NA\n"), types=TYPES))
    assert row["x"] != row["x"]
    assert row["t"] == "NA"


def test_hexadecimal_text_is_no_integer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "n,x,t\n1,1,0x7\n0x10,2,b\n")
    assert CsvTable(path, header=True).schema.field("n").type == pa.string()
    with pytest.raises(UserError, match=r'a\.csv:3: column "n": a hexadecimal number is no int64'):
        rows(CsvTable(path, types=TYPES, header=True))
    assert rows(CsvTable(write(tmp_path / "a.csv", "1,1,0x7\n"), types=TYPES))[0]["t"] == "0x7"


def test_bytes_that_are_not_utf8_are_told_with_their_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"n,x,t\n1,1,a\n2,2,\xff\xfe\n")
    with pytest.raises(UserError, match=r'a\.csv:3: column "t": the bytes .*xff.* are not UTF-8'):
        rows(CsvTable(str(path), types=TYPES, header=True))
    assert len(rows(CsvTable(str(path), ["n"], types=TYPES, header=True))) == 2
    path.write_bytes(b"n,x,\xff\n1,1,a\n")
    with pytest.raises(UserError, match=r"a\.csv:1: the bytes .*xff.* are not UTF-8"):
        CsvTable(str(path), header=True)


def test_a_name_twice_in_the_header(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'a\.csv:1: the header names column "n" twice'):
        CsvTable(write(tmp_path / "a.csv", "n,t,n\n1,a,2\n"), header=True)


def test_a_table_that_is_none(tmp_path: Path) -> None:
    write(tmp_path / "d" / "a.csv", "n,t\n1,a\n")
    write(tmp_path / "d" / "b.csv", "n,u\n1,a\n")
    with pytest.raises(UserError, match=r"b\.csv: its header names n, u, that of .*a\.csv n, t"):
        CsvTable(str(tmp_path / "d"), header=True)
    one = str(tmp_path / "d" / "a.csv")
    with pytest.raises(UserError, match=r'no column "nn"; did you mean "n"\?'):
        CsvTable(one, ["nn"], header=True)
    with pytest.raises(UserError, match=r"input_fields\): no column \"m\""):
        CsvTable(one, types={"m": pa.int64()}, header=True)
    with pytest.raises(UserError, match="matches no file"):
        CsvTable(str(tmp_path / "none.csv"), types=TYPES)
