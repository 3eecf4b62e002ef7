"""Disks that are full, small or read-only under each output: one line, and nothing is left.

The export and checkpoints have tests of their own.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.disks import mounted
from tests.serving.test_predictor import Doubling
from tzrec.runtime.errors import UserError
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.world import World
from tzrec.serving.predictor import Predictor
from tzrec.tools import create_faiss_index, hitrate, prepare_data


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    with mounted(tmp_path / "disk", "128k") as folder:
        yield folder


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    generator = np.random.default_rng(4)
    for name, rows in (("items", 5000), ("users", 5000)):
        vectors = pa.FixedSizeListArray.from_arrays(generator.random(rows * 16, np.float32), 16)
        table = {"item_id": np.arange(rows), f"{name.removesuffix('s')}_tower_emb": vectors}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    return tmp_path


def predict(tables: Path, out: Path) -> None:
    numbers = np.arange(60_000, dtype=np.float32)
    pq.write_table(pa.table({"id": numbers, "number": numbers}), tables / "in.parquet")
    with StagedFolder(str(out), "--predict_output_path", World()) as folder:
        Predictor(Doubling(), str(tables / "in.parquet"), ["id"], ["emb"], World(), batch_size=1000).run(
            folder
        )


def index(tables: Path, out: Path) -> None:
    words = ["--embedding_input_path", f"{tables}/items.parquet", "--index_output_dir", str(out)]
    create_faiss_index.main([*words, "--ivf_nlist", "4"])


def measure(tables: Path, *words: object) -> None:
    flags = [
        "--user_gt_input",
        f"{tables}/users.parquet",
        "--item_embedding_input",
        f"{tables}/items.parquet",
    ]
    flags += ["--request_id_field", "item_id", "--gt_items_field", "item_id", "--ivf_nlist", "4"]
    hitrate.main([*flags, *map(str, words)])


def prepare(tables: Path, out: Path) -> None:
    sizes = ["--users", "500", "--items", "500", "--train_rows", "20000", "--eval_users", "200"]
    prepare_data.main(["demo", "--output_dir", str(out), *sizes])


# What is written -> the flag of the error. Two flags: the other output is on a disk with room.
CASES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "predict": (predict, "--predict_output_path"),
    "index": (index, "--index_output_dir"),
    "prepare_data": (prepare, "--output_dir"),
    "hitrate details": (
        lambda tables, out: measure(
            tables, "--hitrate_details_output", out, "--total_hitrate_output", tables / "total"
        ),
        "--hitrate_details_output",
    ),
    "hitrate report": (
        lambda tables, out: measure(tables, "--report", out, "--total_hitrate_output", tables / "total"),
        "--report",
    ),
    "hitrate total": (
        lambda tables, out: measure(tables, "--report", tables / "a.html", "--total_hitrate_output", out),
        "--total_hitrate_output",
    ),
}


@pytest.mark.parametrize(("write", "flag"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("deep", ["out", "deep/out"])
def test_a_full_disk(tables: Path, disk: Path, write, flag: str, deep: str) -> None:
    if "report" in flag or "total" in flag:
        (disk / "filling").write_bytes(b"x" * (124 << 10))
    before = sorted(path for path in tables.rglob("*"))
    with pytest.raises(UserError) as error:
        write(tables, disk / deep)
    refused = "cannot be written (No space left on device); make room and start again"
    assert str(error.value) == f"{flag}: {disk / deep}: {refused}"
    assert sorted(path for path in tables.rglob("*") if path.name != "in.parquet") == before


@pytest.mark.parametrize(("write", "flag"), CASES.values(), ids=CASES.keys())
def test_a_disk_that_cannot_be_written(tables: Path, disk: Path, write, flag: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(UserError, match=f"{flag}: .*disk.* cannot be written"):
        write(tables, disk / "out")
    assert os.listdir(disk) == []


def test_the_output_may_be_a_volume_of_its_own(tables: Path, disk: Path) -> None:
    """A rename cannot replace a mounted folder: what was written is moved into it."""
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
    predict(tables, disk)
    assert sorted(os.listdir(disk)) == ["_SUCCESS", "part-0.parquet"]


def test_a_temporary_folder_that_is_full(tables: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    with pytest.raises(UserError, match=r"No space left on device; the item vectors need 400,000 bytes"):
        measure(tables, "--total_hitrate_output", tables / "total")
    assert os.listdir(disk) == []
    assert not (tables / "total").exists()
