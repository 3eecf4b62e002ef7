"""The commands of the tutorial with two processes on a small set, and what they leave."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.small import ITEMS, Running, Small, command, make_small
from tzrec.config import prepare
from tzrec.datasets.batch import serving_tensors
from tzrec.datasets.build import build_loader
from tzrec.datasets.parquet import ParquetTable
from tzrec.features.build import build_features
from tzrec.features.graph import compute_all
from tzrec.models.build import tower_features
from tzrec.runtime.world import World
from tzrec.serving.split import load_model
from tzrec.training.build import build_objective
from tzrec.training.checkpoint import find, path_of
from tzrec.training.evaluate import Tally


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def exported(trained: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "export"
    note = trained.root / "note.txt"
    note.write_text("asset")
    done = command(
        "tzrec.export",
        *("--pipeline_config_path", trained.model / "pipeline.config"),
        *("--export_dir", out, "--asset_files", note),
        processes=2,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_training_learns_and_leaves_its_results(trained: Small) -> None:
    first, last = lines(trained.model / "train_eval_result.txt")
    assert (first["global_step"], last["global_step"]) == (8, 16)
    # 33 candidates: chance is 5 / 33 = 0.15.
    assert last["recall@5"] > 0.3
    assert prepare(str(trained.model / "pipeline.config")).message.train_config.num_steps == 16
    assert sorted(entry.name for entry in trained.model.iterdir()) == [
        "model.ckpt-16",
        "model.ckpt-8",
        "pipeline.config",
        "train_eval_result.txt",
    ]


def test_a_checkpoint_of_two_processes_is_the_same_model_in_one(trained: Small) -> None:
    """Tables, dense layers and the order of columns survive another sharding: the metrics agree."""
    pipeline = prepare(str(trained.model / "pipeline.config")).message
    model = load_model(pipeline, path_of(trained.model, 16))
    layout = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config)).layout
    tally = Tally(build_objective(pipeline))
    with torch.no_grad():
        for rank in range(2):
            world = World(rank, 2, rank, 2)
            loader = build_loader(
                pipeline.data_config, layout, world, pipeline.eval_input_path, evaluation=True
            )
            for batch in loader.batches():
                tally.add(model(batch)[1], batch)
    found, expected = tally.metrics(), lines(trained.model / "train_eval_result.txt")[-1]
    assert found["recall@5"] == expected["recall@5"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_an_evaluation_keeps_its_metrics_where_the_model_dir_is_gone(trained: Small, tmp_path: Path) -> None:
    """The configuration names a model_dir that is not there: the metrics were lost at the end of the work."""
    moved, text = tmp_path / "elsewhere" / "model", trained.config.read_text(encoding="utf-8")
    config = tmp_path / "pipeline.config"
    config.write_text(text.replace(str(trained.model), str(moved)), encoding="utf-8")
    done = command(
        "tzrec.eval", "--pipeline_config_path", config, "--checkpoint_path", path_of(trained.model, 8)
    )
    assert done.returncode == 0, done.stderr
    (found,) = lines(moved / "eval_result.txt")
    (expected,) = (one for one in lines(trained.model / "train_eval_result.txt") if one["global_step"] == 8)
    assert found["mrr"] == pytest.approx(expected["mrr"], abs=1e-5)
    assert f"mrr {found['mrr']:.4f}" in done.stdout


def test_eval_repeats_the_numbers_of_training(trained: Small) -> None:
    """Those of two processes, in one."""
    done = command("tzrec.eval", "--pipeline_config_path", trained.model / "pipeline.config")
    assert done.returncode == 0, done.stderr
    assert "sampled metrics: recall@1" in done.stdout
    path = trained.model / "eval_result.txt"
    (found,) = lines(path)
    path.unlink()
    expected = lines(trained.model / "train_eval_result.txt")[-1]
    assert found == pytest.approx(expected, rel=1e-6)


def test_eval_with_more_processes_than_batches(trained: Small, tmp_path: Path) -> None:
    small = Small(tmp_path / "copy")
    shutil.copytree(trained.root, small.root)
    text = (trained.model / "pipeline.config").read_text().replace(str(trained.root), str(small.root))
    small.config.write_text(text.replace("batch_size: 100", "batch_size: 100\n  eval_batch_size: 1000"))
    for processes in (1, 2):
        done = command("tzrec.eval", "--pipeline_config_path", small.config, processes=processes)
        assert done.returncode == 0, done.stderr
    alone, found = lines(small.model / "eval_result.txt")
    assert found == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("tower", ["user", "item"])
@pytest.mark.parametrize("rows", [1, 57])
def test_exported_equals_eager(trained: Small, exported: Path, tower: str, rows: int, tmp_path: Path) -> None:
    pipeline = prepare(str(trained.model / "pipeline.config")).message
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    towers = tower_features(pipeline, features)
    model = load_model(pipeline, find(trained.model, None))
    table = ParquetTable(f"{trained.root}/eval/*.parquet")
    loader = build_loader(
        pipeline.data_config, towers.layout, World(), pipeline.eval_input_path, evaluation=True
    )
    loader.course = replace(loader.course, sizes=np.array([rows]))
    with torch.no_grad():
        vectors, _ = model(next(loader.batches()))
    eager = (vectors.user if tower == "user" else vectors.item)[:rows]
    batch = next(table.batches(0, rows))
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    inputs = serving_tensors(compute_all(towers.user if tower == "user" else towers.item, columns))
    torch.save(inputs, tmp_path / "in.pt")
    code = (
        "import sys, torch, fbgemm_gpu\n"
        f"model = torch.jit.load({str(exported / tower / 'scripted_model.pt')!r})\n"
        "out = model(torch.load('in.pt'), torch.device('cpu'))\n"
        "assert not any(name.startswith(('tzrec', 'torchrec')) for name in sys.modules)\n"
        "torch.save(out, 'out.pt')\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    out = torch.load(tmp_path / "out.pt")
    assert list(out) == [f"{tower}_tower_emb"]
    torch.testing.assert_close(out[f"{tower}_tower_emb"], eager, rtol=1e-5, atol=1e-6)
    assert (exported / tower / "note.txt").read_text() == "asset"


def test_vectors_hit_rate_and_index(trained: Small, exported: Path, tmp_path: Path) -> None:
    items, users = tmp_path / "item_emb", tmp_path / "user_emb"
    for tower, table, keep, out in (
        ("item", "item", "item_id", items),
        ("user", "eval", "user_id,item_id", users),
    ):
        done = command(
            "tzrec.predict",
            *("--scripted_model_path", exported / tower),
            *("--predict_input_path", f"{trained.root}/{table}/\\*.parquet"),
            *("--predict_output_path", out, "--reserved_columns", keep),
            *("--output_columns", f"{tower}_tower_emb"),
            processes=2,
        )
        assert done.returncode == 0, done.stderr
        names = ["_SUCCESS", "part-0.parquet", "part-1.parquet"]
        assert sorted(entry.name for entry in out.iterdir()) == names
        marker = json.loads((out / "_SUCCESS").read_text())
        assert marker["parts"] == {name: pq.read_metadata(out / name).num_rows for name in names[1:]}
        assert marker["rows"] == sum(marker["parts"].values())
    found = pq.read_table(items)
    assert found.column_names == ["item_tower_emb", "item_id"]
    assert found["item_id"].to_pylist() == list(range(ITEMS))
    lengths = np.linalg.norm(np.array(found["item_tower_emb"].to_pylist()), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    assert pq.read_table(users)["user_id"].equals(pq.read_table(trained.root / "eval")["user_id"])
    done = command(
        "tzrec.tools.hitrate",
        *("--user_gt_input", f"{users}/*.parquet", "--item_embedding_input", f"{items}/*.parquet"),
        *("--item_id_field", "item_id", "--request_id_field", "user_id", "--gt_items_field", "item_id"),
        *("--top_k", 80, "--total_hitrate_output", tmp_path / "total"),
        processes=2,
    )
    assert done.returncode == 0, done.stderr
    # 80 of 400 items: random finds 0.2.
    assert pq.read_table(tmp_path / "total")["hitrate"][0].as_py() > 0.4
    done = command(
        "tzrec.tools.create_faiss_index",
        *("--embedding_input_path", f"{items}/*.parquet", "--index_output_dir", exported / "user"),
        *("--id_field", "item_id", "--embedding_field", "item_tower_emb"),
    )
    assert done.returncode == 0, done.stderr
    assert (exported / "user" / "id_mapping").read_text().split() == [str(n) for n in range(ITEMS)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output_columns", "user_tower_em"], 'did you mean "user_tower_emb"?'),
        (["--reserved_columns", "user_idd"], 'no column "user_idd"; did you mean "user_id"?'),
        (["--writer_type", "OdpsWriter"], "ParquetWriter is"),
        (["--batch_size", "0"], "give 1 or more"),
    ],
)
def test_predict_refuses(
    trained: Small, exported: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    out = tmp_path / "out"
    done = command(
        "tzrec.predict",
        *("--scripted_model_path", exported / "user"),
        *("--predict_input_path", f"{trained.root}/eval/*.parquet", "--predict_output_path", out, *words),
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_a_killed_predict_leaves_nothing_that_looks_finished(
    trained: Small, exported: Path, tmp_path: Path
) -> None:
    # So many small batches that it is far from its end when its first file appears.
    table = pq.read_table(f"{trained.root}/eval")
    pq.write_table(pa.concat_tables([table] * 600), tmp_path / "in.parquet")
    out = tmp_path / "out"
    words = ("--scripted_model_path", exported / "user", "--predict_input_path", tmp_path / "in.parquet")
    words += ("--predict_output_path", out, "--batch_size", 10)
    running = Running(tmp_path / "log", "tzrec.predict", *words)
    end = time.monotonic() + 90
    while not list(tmp_path.glob(".out.unfinished-*/part-0.parquet")) and running.process.poll() is None:
        assert time.monotonic() < end, running.err.read_text()
        time.sleep(0.01)
    running.kill_all()
    assert running.process.returncode == -signal.SIGKILL, running.err.read_text()
    assert not out.exists()
    done = command("tzrec.predict", *words, "--predict_steps", 3)
    assert done.returncode == 0, done.stderr
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {"in.parquet", "log.out", "log.err", "out"}
    assert pq.read_table(out).num_rows == 30


def test_predict_keeps_all_columns_profiles_and_explains(
    trained: Small, exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = command(
        "tzrec.predict",
        *("--scripted_model_path", exported / "user", "--predict_input_path", f"{trained.root}/eval"),
        *("--predict_output_path", out, "--reserved_columns", "ALL_COLUMNS", "--predict_threads", 2),
        *("--debug_level", 1, "--is_profiling", "--batch_size", 50, "--predict_steps", 3),
    )
    assert done.returncode == 0, done.stderr
    found = pq.read_table(out)
    source = pq.read_table(trained.root / "eval")
    assert found.num_rows == 150
    assert found.column_names == ["user_tower_emb", "debug_features", *source.column_names]
    assert json.loads(found["debug_features"][0].as_py())["user_id"] == [source["user_id"][0].as_py()]
    assert json.loads((tmp_path / "out.trace-0.json").read_text())["traceEvents"]


@pytest.mark.parametrize("hashed", ["0", "1"])
def test_text_ids_train(tmp_path: Path, hashed: str) -> None:
    small = make_small(tmp_path / "text", text_ids=True)
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, USE_HASH_NODE_ID=hashed)
    assert done.returncode == 0, done.stderr
    assert lines(small.model / "train_eval_result.txt")[-1]["recall@5"] > 0.25
