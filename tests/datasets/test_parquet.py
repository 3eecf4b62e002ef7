"""Parquet files with very many row groups, very large ones, and files that change while they are read.

The attacks: 20,000 row groups of one row; one row group of long texts that is larger than the memory;
a file that is replaced between opening and reading: other columns, types or rows, longer, shorter, gone.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.test_rows import read
from tzrec.datasets import parquet_file
from tzrec.datasets.csv import CsvTable
from tzrec.datasets.parquet import ParquetTable
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World

ROWS = 600


@pytest.fixture(scope="module")
def many_groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    for number in range(3):
        part = np.arange(number * ROWS // 3, (number + 1) * ROWS // 3)
        pq.write_table(
            pa.table({"n": part, "t": part.astype(str)}), folder / f"{number}.parquet", row_group_size=1
        )
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose footers were parsed."""
    paths: list[str] = []
    opening = parquet_file.OpenFile.open.__func__

    def counted(cls: type, file: object) -> object:
        paths.append(str(file))
        return opening(cls, file)

    monkeypatch.setattr(parquet_file.OpenFile, "open", classmethod(counted))
    return paths


@pytest.mark.parametrize("buffer", [0, 50, ROWS])
def test_a_footer_is_parsed_once_and_not_for_every_row_group(
    many_groups: Path, opened: list[str], buffer: int
) -> None:
    seen = chain(*read(f"{many_groups}/*.parquet", World(), 64, buffer_rows=buffer, workers=2))
    assert sorted(seen) == list(range(ROWS))
    assert len(opened) == 3


def test_files_that_cannot_all_stay_open_are_opened_once_a_buffer(
    many_groups: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "OPEN_FILES", 1)
    assert sorted(chain(*read(f"{many_groups}/*.parquet", World(), 64, buffer_rows=200))) == list(range(ROWS))
    assert len(opened) <= 3 + 3 * 3


def test_small_row_groups_come_in_large_batches(many_groups: Path) -> None:
    table = ParquetTable(f"{many_groups}/*.parquet")
    batches = list(table.batches(5, 590, 100))
    assert [len(batch) for batch in batches] == [100] * 5 + [85]
    assert [n for batch in batches for n in batch["n"].to_pylist()] == list(range(5, 590))


def test_memory_is_bounded_by_the_batch_and_not_by_the_row_group(tmp_path: Path) -> None:
    texts = 200
    schema = pa.schema([("n", pa.int64()), ("t", pa.string())])
    for name, rows in (("small", texts), ("large", 4 * texts)):
        # 128 KB a row: 25 MB and 100 MB as one row group.
        long = pa.array([np.random.default_rng(n).bytes(96_000).hex()[:128_000] for n in range(rows)])
        table = pa.table([pa.array(range(rows)), long], schema=schema)
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=rows, use_dictionary=False)
    script = (
        "import resource, sys; from tzrec.datasets import parquet_file; "
        "from tzrec.datasets.parquet import ParquetTable; parquet_file.BATCH_BYTES = 4 << 20; "
        "table = ParquetTable(sys.argv[1]); "
        "rows = sum(len(batch) for batch in table.batches(0, table.num_rows)); "
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"
    )
    rows, used = np.transpose(
        [
            [
                int(word)
                for word in subprocess.run(
                    [sys.executable, "-c", script, str(tmp_path / f"{name}.parquet")],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.split()
            ]
            for name in ("small", "large")
        ]
    )
    assert rows.tolist() == [texts, 4 * texts]
    assert used[1] - used[0] < 25


def test_large_rows_come_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "BATCH_BYTES", 10_000)
    monkeypatch.setattr("tzrec.datasets.table.FEW_BYTES", 1000)
    table = pa.table({"n": range(1000), "a.b": [f"{n:0>100}" for n in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    sizes = [len(batch) for batch in ParquetTable(str(tmp_path)).batches(0, 1000)]
    assert sum(sizes) == 1000
    assert max(sizes) < 100
    # Columns that are not read do not count.
    assert max(len(batch) for batch in ParquetTable(str(tmp_path), ["n"]).batches(0, 1000)) > 500


def _write(path: Path, table: pa.Table) -> None:
    new = path.with_suffix(".new")
    pq.write_table(table, new, row_group_size=100)
    os.replace(new, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "other columns": lambda path: _write(path, pa.table({"m": range(400)})),
    "other types": lambda path: _write(path, pa.table({"n": [str(n) for n in range(400)]})),
    "fewer rows": lambda path: _write(path, pa.table({"n": range(150)})),
    "as many rows": lambda path: _write(path, pa.table({"n": range(400, 800)})),
    "cut in place": lambda path: os.truncate(path, 700),
    "emptied in place": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "garbage": lambda path: path.write_bytes(b"no parquet" * 1000),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("keep", [True, False], ids=["stays open", "opened again"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, change: str, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        _write(tmp_path / f"{name}.parquet", pa.table({"n": range(400)}))
    if not keep:
        monkeypatch.setattr(parquet_file, "OPEN_FILES", 1)
    table = ParquetTable(f"{tmp_path}/*.parquet")
    batches = table.batches(0, 800, 100)
    next(batches)
    CHANGES[change](tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: has changed since the run began: .*; leave the files"):
        list(batches)


def test_a_file_that_differs_and_whose_version_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a remote one: its columns and row groups are compared when it is opened again."""
    monkeypatch.setattr("tzrec.datasets.files.DataFile.version", lambda file: ())
    path = tmp_path / "a.parquet"
    reasons = {
        "other columns": 'no column "n"',
        "other types": "is string now",
        "fewer rows": "rows",
    }
    for change, reason in reasons.items():
        _write(path, pa.table({"n": range(400)}))
        table = ParquetTable(str(path))
        table.open_files = parquet_file.OpenFiles()
        CHANGES[change](path)
        with pytest.raises(UserError, match=f"has changed since the run began: .*{reason}"):
            list(table.batches(0, 400))


@pytest.mark.parametrize("content", [b"1,x\n" * 50, b"1,x\n" * 200, b"", None])
def test_a_csv_file_that_changes_while_it_is_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,x\n" * 100)
    table = CsvTable(str(path), types={"n": pa.int64(), "x": pa.string()})
    path.write_bytes(content) if content is not None else path.unlink()
    with pytest.raises(UserError, match=r"a\.csv: has changed since the run began"):
        list(table.batches(0, 100))
