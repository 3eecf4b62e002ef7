"""Rows to batches: every row once, the same number of steps on every rank, resumable, shuffled."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tzrec.datasets.loader import Loader
from tzrec.datasets.parquet import ParquetTable
from tzrec.datasets.rows import cut
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World


def worlds(size: int) -> list[World]:
    return [World(rank, size, rank, size) for rank in range(size)]


def write(folder: Path, rows: int, files: int, group: int) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, rows, files + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(edges)):
        table = pa.table({"n": np.arange(start, stop), "text": [str(n) for n in range(start, stop)]})
        pq.write_table(table, folder / f"{number:03}.parquet", row_group_size=group)
    return f"{folder}/*.parquet"


def read(paths: str, world: World, batch: int, **options) -> list[list[int]]:
    run = {key: options.pop(key) for key in ("epoch", "start", "stop") if key in options}
    loader = Loader(
        ParquetTable(paths, ["n"]), world, lambda rows, *_: rows["n"].to_pylist(), batch, **options
    )
    return list(loader.batches(**run))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_row_once_for_any_files_groups_and_worlds(tmp_path: Path, data: st.DataObject) -> None:
    rows, files = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 4))
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    paths = write(folder, rows, files, data.draw(st.integers(1, 50)))
    size, batch = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 30))
    workers, buffer = data.draw(st.integers(0, 3)), data.draw(st.sampled_from([0, 1, 7, 64, 500]))
    seen, steps = [], set()
    for world in worlds(size):
        batches = read(paths, world, batch, workers=workers, buffer_rows=buffer, epoch=1)
        steps.add(len(batches))
        seen += [n for each in batches for n in each]
        start = data.draw(st.integers(0, len(batches)))
        resumed = read(paths, world, batch, workers=workers, buffer_rows=buffer, epoch=1, start=start)
        assert resumed == batches[start:]
    assert sorted(seen) == list(range(rows))
    assert len(steps) == 1


def test_a_stream_that_ends_too_early_is_told() -> None:
    batch = pa.RecordBatch.from_pydict({"n": [1, 2, 3]})
    with pytest.raises(UserError, match="fewer rows than they had"):
        list(cut(iter([batch]), np.array([2, 2]), batch.schema))


def test_a_column_that_stands_twice_is_told(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["n", "m", "n"])
    pq.write_table(table, tmp_path / "a.parquet")
    for columns in (None, ["n"]):
        with pytest.raises(UserError, match=r'a\.parquet: column "n" stands there twice'):
            ParquetTable(str(tmp_path / "a.parquet"), columns)
    assert ParquetTable(str(tmp_path / "a.parquet"), ["m"]).num_rows == 1


def test_shuffling_mixes_rows_and_differs_between_passes(tmp_path: Path) -> None:
    paths = write(tmp_path, 400, 2, 50)
    first = read(paths, World(), 100, buffer_rows=200, epoch=0)
    again = read(paths, World(), 100, buffer_rows=200, epoch=0)
    second = read(paths, World(), 100, buffer_rows=200, epoch=1)
    assert first == again
    assert first != second
    assert max(first[0]) - min(first[0]) > 100
    assert first[0] != sorted(first[0])


def test_an_error_of_a_worker_reaches_the_consumer(tmp_path: Path) -> None:
    def fail(rows: pa.RecordBatch, epoch: int, step: int) -> None:
        if step == 2:
            raise UserError("step 2")

    loader = Loader(ParquetTable(write(tmp_path, 100, 1, 10)), World(), fail, 10, workers=2)
    with pytest.raises(UserError, match="step 2"):
        list(loader.batches())


def test_a_consumer_that_leaves_early_ends_the_threads(tmp_path: Path) -> None:
    import threading

    before = threading.active_count()
    for _ in Loader(ParquetTable(write(tmp_path, 100, 1, 10)), World(), lambda *_: 1, 5, workers=3).batches():
        break
    assert threading.active_count() == before


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    table = ParquetTable(write(tmp_path, 10, 1, 10), ["text"])
    assert next(table.batches(3, 5)).to_pydict() == {"text": ["3", "4"]}


def test_what_is_wrong_with_a_table_is_said(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", 10, 1, 10)
    with pytest.raises(UserError, match=r'no column "txt"; did you mean "text"\?'):
        ParquetTable(paths, ["txt"])
    with pytest.raises(UserError, match="matches no file"):
        ParquetTable(f"{tmp_path}/nothing/*.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is no parquet")
    with pytest.raises(UserError, match=r"bad\.parquet: cannot be read as parquet"):
        ParquetTable(str(tmp_path / "bad.parquet"))
    pq.write_table(pa.table({"n": ["x"], "text": ["y"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match='column "n" is string'):
        ParquetTable(f"{paths},{tmp_path}/other.parquet")


def test_paths_as_shells_pass_them_on(tmp_path: Path) -> None:
    paths = write(tmp_path, 10, 2, 10)
    assert ParquetTable(paths.replace("*", "\\*")).num_rows == 10
    assert ParquetTable(str(tmp_path)).num_rows == 10
