"""Every row once, whatever the world, the threads and the batches; bounded, whole or absent."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.support import build
from tzrec.runtime.errors import UserError
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.world import World
from tzrec.serving import predictor
from tzrec.serving.predictor import MARKER, Predictor, list_column


@dataclass
class Doubling:
    """Stands for an exported tower: its vector is the number and its double."""

    fail_at: float = -1
    features: list = field(
        default_factory=lambda: list(
            build('raw_feature { feature_name: "number" expression: "user:number" }').values()
        )
    )
    pipeline: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(data_config=SimpleNamespace(num_workers=2))
    )

    def vectors(self, computed):
        numbers = computed["number"].values
        if (numbers == self.fail_at).any():
            raise UserError("a bad row")
        return {"emb": torch.from_numpy(np.concatenate([numbers, 2 * numbers], axis=1))}


def write(folder: Path, rows: int) -> str:
    table = pa.table({"id": [f"item {n}" for n in range(rows)], "number": np.arange(rows, dtype=np.float32)})
    pq.write_table(table.slice(0, rows // 3), folder / "a.parquet", row_group_size=7)
    pq.write_table(table.slice(rows // 3), folder / "b.parquet")
    return str(folder)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 90), size=st.integers(1, 5), batch=st.integers(1, 40), threads=st.integers(1, 4))
def test_every_row_once_and_in_order(rows, size, batch, threads):
    with TemporaryDirectory() as folder:
        paths = write(Path(folder), rows)
        found = []
        for rank in range(size):
            world = World(rank, size, rank, size)
            made = Predictor(Doubling(), paths, ["ALL_COLUMNS"], ["emb"], world, batch, threads)
            assert made.loader.workers == threads
            found += [row for part in made.loader.batches() for row in part.to_pylist()]
    assert found == [{"emb": [n, 2 * n], "id": f"item {n}", "number": n} for n in range(rows)]


def test_a_part_has_few_row_groups_and_a_marker(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    paths = write(tmp_path / "in", 1000)
    monkeypatch.setattr(predictor, "GROUP_BYTES", 5000)
    with StagedFolder(str(tmp_path / "out"), "--out", World()) as folder:
        Predictor(Doubling(), paths, ["id"], ["emb"], World(), batch_size=10).run(folder)
    assert json.loads((tmp_path / "out" / MARKER).read_text()) == {
        "rows": 1000,
        "parts": {"part-0.parquet": 1000},
    }
    part = pq.ParquetFile(tmp_path / "out" / "part-0.parquet")
    # 100 batches of some 250 bytes: twenty of them make a group.
    assert 3 <= part.num_row_groups <= 10
    assert part.schema_arrow.names == ["emb", "id"]
    # The marker is not a part of the table.
    assert pq.read_table(tmp_path / "out")["id"].to_pylist() == [f"item {n}" for n in range(1000)]


@pytest.mark.parametrize(("rows", "batch"), [(0, 10), (1, 10), (2, 10), (4, 1)])
def test_a_rank_without_rows_writes_an_empty_part(tmp_path, rows, batch):
    """Fewer rows than ranks: Arrow refuses a row group of no rows, and predict ended in a traceback."""
    (tmp_path / "in").mkdir()
    paths, out = write(tmp_path / "in", rows), StagedFolder(str(tmp_path / "out"), "--out", World())
    with out as folder:
        for rank in range(3):
            world = World(rank, 3, rank, 3)
            written = Predictor(Doubling(), paths, ["id"], ["emb"], world, batch)._write(folder, None)
            predictor.check_part(folder.path / f"part-{rank}.parquet", written)
        folder.finish()
    found = pq.read_table(tmp_path / "out")
    assert found.schema.names == ["emb", "id"]
    assert found["id"].to_pylist() == [f"item {n}" for n in range(rows)]


def test_a_run_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    paths = write(tmp_path / "in", 300)
    out = StagedFolder(str(tmp_path / "out"), "--out", World())
    with pytest.raises(UserError, match="a bad row"), out as folder:
        Predictor(Doubling(fail_at=250), paths, [], ["emb"], World(), batch_size=10).run(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_a_part_that_is_not_what_was_written_is_told_before_the_marker(tmp_path, monkeypatch):
    """Two predicts into one output: the file had 4 bytes, and "wrote 120000 rows" was said of it."""
    (tmp_path / "in").mkdir()
    paths = write(tmp_path / "in", 300)
    whole_write, spoils = Predictor._write, []

    def write_and_lose(self, folder, steps):
        rows = whole_write(self, folder, steps)
        spoils[-1](folder.path / "part-0.parquet")
        return rows

    monkeypatch.setattr(Predictor, "_write", write_and_lose)
    fewer = pa.table({"number": [1.0]})
    for spoil, said in (
        (lambda part: part.write_bytes(b"PAR1"), "300 rows were written and cannot be read back"),
        (lambda part: part.unlink(), "300 rows were written and cannot be read back"),
        (lambda part: pq.write_table(fewer, part), "300 rows were written, 1 are in the file"),
    ):
        spoils.append(spoil)
        out = StagedFolder(str(tmp_path / "out"), "--out", World())
        with pytest.raises(UserError, match=said), out as folder:
            Predictor(Doubling(), paths, [], ["emb"], World(), batch_size=10).run(folder)
        assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_vectors_become_a_column_without_a_copy():
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    column = list_column(vectors)
    assert column.to_pylist() == [[0, 1], [2, 3], [4, 5]]
    assert column.values.buffers()[1].address == vectors.ctypes.data
    assert not column.type.value_field.nullable
