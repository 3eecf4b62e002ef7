"""Commands that write outputs, killed at random moments.

Nothing under a final name may be less than whole, and after the next run of the same command
nothing may be left of the killed ones: neither beside the output nor in TMPDIR.
TZREC_KILLS=50 makes so many rounds of each command; the default keeps the tests short.
"""

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small import Running, Small, command

ROUNDS = int(os.environ.get("TZREC_KILLS", "2"))


@dataclass
class Killed:
    """A command and what its outputs must be.

    Attributes:
        module: of the command.
        words: of its command line.
        outputs: name below the folder of the test -> what raises unless it is whole.
        seconds: within this time of its first unfinished output (or of its start) it is killed.
        processes: of the command.
        kept: what lies in the folder before.
    """

    module: str
    words: list[object]
    outputs: dict[str, Callable[[Path], object]]
    seconds: float
    processes: int = 1
    kept: set[str] = field(default_factory=set)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def remove(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            remove(child)
        path.rmdir()
    else:
        path.unlink()


def check_killed(case: Killed, folder: Path, random_moment: random.Random) -> None:
    """Kills the command ROUNDS times, then lets it run to its end.

    Args:
        case: the command, whose outputs lie in `folder`.
        folder: holds nothing but what the command and the test need.
        random_moment: when to kill.
    """
    temporary, logs = folder.parent / "tmp", folder.parent / "log"
    temporary.mkdir()
    before = tree(folder)
    for _ in range(ROUNDS):
        words = {"processes": case.processes, "TMPDIR": str(temporary)}
        running = Running(logs, case.module, *case.words, **words)  # type: ignore[arg-type]
        end = time.monotonic() + 60
        # From the first sign of work on: most of the start-up is the import of libraries.
        while not any(".unfinished-" in name for name in os.listdir(folder)) and time.monotonic() < end:
            if running.process.poll() is not None:
                break
            time.sleep(0.005)
        time.sleep(random_moment.uniform(0, case.seconds))
        running.kill_all()
        for name, whole in case.outputs.items():
            if (folder / name).exists():
                whole(folder / name)
                if name not in before:
                    remove(folder / name)
    done = command(case.module, *case.words, processes=case.processes, TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    for name, whole in case.outputs.items():
        whole(folder / name)
    left = tree(folder) - before
    assert {name.split("/")[0] for name in left} <= {name.split("/")[0] for name in case.outputs}, left
    assert not [name for name in left if any(part.startswith(".") for part in name.split("/"))]
    # torchrun's own folder of logs is its affair.
    assert [name for name in os.listdir(temporary) if name.startswith("tzrec")] == []


def whole_table(rows: int) -> Callable[[Path], None]:
    def whole(folder: Path) -> None:
        assert pq.read_table(folder).num_rows == rows

    return whole


def whole_predict(rows: int) -> Callable[[Path], None]:
    def whole(folder: Path) -> None:
        parts = json.loads((folder / "_SUCCESS").read_text())["parts"]
        assert {name: pq.read_metadata(folder / name).num_rows for name in parts} == parts
        assert sum(parts.values()) == rows

    return whole


def whole_bundle(folder: Path) -> None:
    import torch

    for tower in ("user", "item"):
        torch.jit.load(str(folder / tower / "scripted_model.pt"))
        json.loads((folder / tower / "fg.json").read_text())
        assert (folder / tower / "pipeline.config").read_text()


def whole_page(path: Path) -> None:
    assert path.read_text().endswith("</html>\n")


def whole_index(folder: Path) -> None:
    """The two files must be of one run: the n-th id has the n-th vector."""
    if (folder / "faiss_index").exists() or (folder / "id_mapping").exists():
        ids = (folder / "id_mapping").read_text().splitlines()
        index = faiss.read_index(str(folder / "faiss_index"))
        assert len(ids) == index.ntotal


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Tables of user and item vectors."""
    generator = np.random.default_rng(4)
    folder = tmp_path / "vectors"
    folder.mkdir()
    for name, rows in (("items", 20_000), ("users", 6_000)):
        emb = pa.FixedSizeListArray.from_arrays(generator.random(rows * 16, np.float32), 16)
        ids = generator.integers(0, 20_000, rows) if name == "users" else np.arange(rows)
        tower = name.removesuffix("s")
        pq.write_table(pa.table({"item_id": ids, f"{tower}_tower_emb": emb}), folder / f"{name}.parquet")
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_hitrate(vectors: Path, work: Path) -> None:
    words = ["--user_gt_input", vectors / "users.parquet", "--request_id_field", "item_id"]
    words += ["--item_embedding_input", vectors / "items.parquet", "--gt_items_field", "item_id"]
    words += ["--hitrate_details_output", work / "details", "--total_hitrate_output", work / "total"]
    words += ["--report", work / "report.html", "--top_k", 20, "--ivf_nlist", 20]
    outputs = {"details": whole_table(6_000), "total": whole_table(1), "report.html": whole_page}
    check_killed(Killed("tzrec.tools.hitrate", words, outputs, 2.5), work, random.Random(1))


def test_create_faiss_index(vectors: Path, work: Path) -> None:
    """Into a folder that a server reads and that holds an index already."""
    (work / "user").mkdir()
    (work / "user" / "scripted_model.pt").write_text("served")
    words = ["--embedding_input_path", vectors / "items.parquet", "--index_output_dir", work / "user"]
    words += ["--ivf_nlist", 20]
    check_killed(
        Killed("tzrec.tools.create_faiss_index", words, {"user": whole_index}, 1.0), work, random.Random(2)
    )
    assert sorted(os.listdir(work / "user")) == ["faiss_index", "id_mapping", "scripted_model.pt"]


def test_prepare_data(work: Path) -> None:
    words = ["demo", "--output_dir", work / "data", "--users", 3000, "--items", 3000]
    words += ["--train_rows", 50_000, "--eval_users", 1000]

    def whole(folder: Path) -> None:
        whole_table(50_000)(folder / "train")
        assert (folder / "negatives.txt").read_text().count("\n") == 3001
        assert sorted(os.listdir(folder)) == ["eval", "item", "negatives.txt", "pipeline.config", "train"]

    check_killed(Killed("tzrec.tools.prepare_data", words, {"data": whole}, 0.8), work, random.Random(3))


def test_export_and_predict(trained: Small, work: Path) -> None:
    words = ["--pipeline_config_path", trained.model / "pipeline.config", "--export_dir", work / "export"]
    check_killed(Killed("tzrec.export", words, {"export": whole_bundle}, 8.0), work, random.Random(4))
    bundle = work.parent / "export"
    (work / "export").rename(bundle)
    table = pq.read_table(trained.root / "eval")
    pq.write_table(pa.concat_tables([table] * 100), work.parent / "in.parquet")
    (work.parent / "tmp").rename(work.parent / "tmp of export")
    words = ["--scripted_model_path", bundle / "user", "--predict_input_path", work.parent / "in.parquet"]
    words += ["--predict_output_path", work / "vectors", "--batch_size", 50]
    check_killed(
        Killed("tzrec.predict", words, {"vectors": whole_predict(50_100)}, 7.0), work, random.Random(5)
    )
