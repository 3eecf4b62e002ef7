"""Whatever the number of processes and wherever the tables lie, the same model is trained."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from tests.small import make_small
from tests.training.planned import Job, run_all
from tzrec.training.checkpoint import path_of, read_facts

STEPS = 3
# Tables of every collection: `items` with weights (a sum and a mean), `liked` a mean, `clicks` of a
# sequence, `age_bin` with fewer rows than ranks, `user_id` wide enough to be cut by columns.
OLD_USER = "num_buckets: 200 embedding_dim: 8"
NEW_USER = "num_buckets: 200 embedding_dim: 256"
FEATURES = """
feature_configs { id_feature { feature_name: "liked" expression: "user:seen" num_buckets: 400
  embedding_dim: 8 pooling: "mean" } }
feature_configs { raw_feature { feature_name: "age_bin" expression: "user:age" boundaries: [0.3, 0.6]
  embedding_dim: 4 } }
feature_configs { sequence_id_feature { feature_name: "clicks" expression: "user:seen" num_buckets: 400
  embedding_dim: 8 sequence_length: 5 embedding_constraints { sharding_types: "UNPOOLED" } } }
"""
SEQUENCE = """sequence_groups { group_name: "clicked" feature_names: "clicks" }
    sequence_encoders { pooling_encoder { input: "clicked" } }"""
KINDS = ("table_wise", "row_wise", "table_row_wise", "column_wise")
# Of four ranks: one without rows, then nearly everything on one, then all of it.
UNEVEN = ((0.3, 0.1, 0.6, 0), (0.01, 0.97, 0.01, 0.01), (0, 0, 0, 1))


def held(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, whole."""
    reader = dcp.FileSystemReader(folder)
    found: dict[str, Any] = {
        name: torch.empty(what.size, dtype=what.properties.dtype)
        for name, what in reader.read_metadata().state_dict_metadata.items()
        if isinstance(what, TensorStorageMetadata)
    }
    dcp.load(found, storage_reader=reader, no_dist=True)
    return found


class Runs:
    """Trainings by name, each from the checkpoint of `first`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        small = make_small(folder / "small", rows=600)
        text = small.config.read_text()
        text = text.replace(OLD_USER, NEW_USER)
        first, sep, last = text.rpartition('embedding_name: "items" pooling: "mean"')
        text = first + 'embedding_name: "items"' + last
        assert sep
        assert NEW_USER in text
        text = text.replace("model_config {", FEATURES + "model_config {", 1)
        text = text.replace(
            'feature_names: ["user_id", "age", "seen"]',
            f'feature_names: ["user_id", "age", "seen", "liked", "age_bin"] {SEQUENCE}',
        )
        # Adagrad's first steps do not depend on the size of a gradient, unless its sums begin above 0.
        text = text.replace("lr: 0.05 }", "lr: 0.05 initial_accumulator_value: 0.01 }")
        self.config = folder / "planned.config"
        self.jobs: dict[str, Job] = {}
        self.text = text
        self.add("first", 1, "table_wise", start="", steps=2)
        self.add("alone", 1, "table_wise")
        for kind in KINDS:
            self.add(f"{kind} even", 2, kind)
            self.add(f"{kind} uneven", 4, kind, shares=UNEVEN, hosts=2)
        for processes in (1, 4):
            self.add(f"loaded {processes}", processes, "row_wise", start="table_wise even", steps=0)
            self.add(f"next {processes}", processes, "row_wise", start="table_wise even", steps=1)
        self.add("next 2", 2, "table_wise", start="table_wise even", steps=1)
        self.results = dict(zip(self.jobs, run_all(list(self.jobs.values()), folder), strict=True))

    def add(
        self, name: str, processes: int, kind: str, start: str = "first", steps: int = STEPS, **more: Any
    ) -> None:
        config = self.folder / f"{kind}.config"
        unpooled = kind if kind in KINDS[:2] else "column_wise"
        config.write_text(self.text.replace("UNPOOLED", unpooled))
        self.jobs[name] = Job(
            config=str(config),
            out=str(self.folder / name),
            processes=processes,
            edits={"train_config.global_embedding_constraints": f'{{ sharding_types: "{kind}" }}'},
            start=str(self.checkpoint(start)) if start else "",
            steps=steps,
            **more,
        )

    def checkpoint(self, name: str) -> Path:
        return path_of(self.folder / name, self.jobs[name].steps)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("planned"))


@pytest.mark.parametrize("spread", ["even", "uneven"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_processes_trains_the_same_model(runs: Runs, kind: str, spread: str) -> None:
    """Losses, tables, dense layers and the state of both optimizers are those of one process.

    So the gradients of tables are averaged over the ranks as those of dense layers are: twice the
    gradient would give other sums of squares. Uneven rows move nothing either.
    """
    name = f"{kind} {spread}"
    alone, found = runs.results["alone"], runs.results[name]
    assert len(found["losses"]) == STEPS
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    expected, tensors = held(runs.checkpoint("alone")), held(runs.checkpoint(name))
    start = held(runs.checkpoint("first"))
    assert set(tensors) == set(expected)
    for key, value in tensors.items():
        torch.testing.assert_close(
            value, expected[key], rtol=1e-3, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}"
        )
    moved = [key for key in tensors if not torch.equal(tensors[key], start[key])]
    assert sum("table_" in key and key.startswith("model.") for key in moved) == 6
    assert sum("table_" in key and key.startswith("optimizer.") for key in moved) == 6


def test_the_plans_are_those_that_were_asked_for(runs: Runs) -> None:
    """And stand in the checkpoint."""
    for kind in KINDS:
        placed = read_facts(runs.checkpoint(f"{kind} uneven")).plan
        own = kind if kind in KINDS[:2] else "column_wise"
        assert placed.pop("table_clicks_emb")["sharding"] == own
        # Three rows for four ranks.
        few = placed.pop("table_age_bin_emb")["sharding"]
        assert few == ("table_wise" if kind == "row_wise" else kind)
        assert {place["sharding"] for place in placed.values()} == {kind}
        ranks = {"table_wise": 1, "row_wise": 4}.get(kind, 2)
        assert len(set(placed["table_user_id_emb"]["ranks"])) == ranks
    told = runs.results["row_wise even"]["told"]
    assert told == (
        "embedding tables: age_bin_emb, cate_emb, clicks_emb, items, liked_emb, user_id_emb "
        "row_wise on ranks 0, 1"
    )


@pytest.mark.parametrize("processes", [1, 4])
def test_a_checkpoint_of_one_plan_loads_under_another(runs: Runs, processes: int) -> None:
    """Table-wise of two processes into row-wise of one and of four: to the bit."""
    saved, loaded = (held(runs.checkpoint(name)) for name in ("table_wise even", f"loaded {processes}"))
    assert set(saved) == set(loaded)
    assert any("items" in key and key.startswith("optimizer.") for key in saved)
    for key, value in saved.items():
        assert torch.equal(value, loaded[key]), key
    (expected,), (loss,) = (runs.results[name]["losses"] for name in ("next 2", f"next {processes}"))
    assert math.isclose(loss, expected, rel_tol=1e-6)
