"""Evaluation of a model that was trained on pure noise: chance, and nothing above it.

The attack: users click items at random, from a pool so large that training draws hardly an item twice.
Had evaluation the negatives of the training steps, which the model has learned to rank low, recall@k
would stand far above chance.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small import CONFIG
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.training.build import Session
from tzrec.training.evaluate import evaluate
from tzrec.training.step import Stepper

USERS, ITEMS, ROWS, BATCH, DRAWN, K = 200, 20_000, 2_000, 50, 50, 10


def make_noise(root: Path) -> Path:
    """Clicks without a pattern, and a pool of all items; returns the configuration."""
    generator = np.random.default_rng(5)
    for folder in ("train", "eval"):
        (root / folder).mkdir(parents=True)
        table = pa.table(
            {
                "user_id": generator.integers(0, USERS, ROWS),
                "age": generator.random(ROWS),
                "seen": pa.array([[]] * ROWS, pa.list_(pa.int64())),
                "item_id": generator.integers(0, ITEMS, ROWS),
                "cate": pa.array(["c0"] * ROWS),
                "clk": np.ones(ROWS, np.int32),
            }
        )
        pq.write_table(table, root / folder / "a.parquet")
    lines = ["id:int64\tweight:float\tattrs:string", *(f"{n}\t1.0\t{n}\x02c0" for n in range(ITEMS))]
    (root / "negatives.txt").write_text("\n".join(lines) + "\n")
    text = CONFIG.format(root=root, item_buckets="num_buckets").replace(
        "num_buckets: 400", f"num_buckets: {ITEMS}"
    )
    text = text.replace("num_sample: 32", f"num_sample: {DRAWN}").replace(
        "batch_size: 100", f"batch_size: {BATCH}"
    )
    (root / "pipeline.config").write_text(text.replace("top_k: 5", f"top_k: {K}"))
    return root / "pipeline.config"


def test_evaluation_has_negatives_of_its_own(tmp_path: Path) -> None:
    pipeline = prepare(str(make_noise(tmp_path / "noise"))).message
    try:
        session = Session.begin(pipeline, World())
        data, layout = pipeline.data_config, session.towers.layout
        train = build_loader(data, layout, World(), pipeline.train_input_path)
        test = build_loader(data, layout, World(), pipeline.eval_input_path, evaluation=True)
        stepper = Stepper(session.model, session.optimizers, session.objective)
        for step, batch in enumerate(train.batches()):
            stepper([batch], step, 0)
        metrics = evaluate(session.model, test, session.objective, World(), session.device)
    finally:
        leave_group()
    chance = K / (1 + DRAWN)
    error = (chance * (1 - chance) / ROWS) ** 0.5
    assert metrics[f"recall@{K}"] == pytest.approx(chance, abs=4 * error)
