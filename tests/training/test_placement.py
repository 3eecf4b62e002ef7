"""What the planner may choose, and that all ranks take one choice."""

from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from torchrec.distributed.sharding_plan import calculate_shard_sizes_and_offsets

from tests.small import make_small
from tzrec.config import prepare
from tzrec.features.build import build_features, read_limits
from tzrec.features.outputs import Limits
from tzrec.models.build import build_model, tower_features
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World
from tzrec.training import placement
from tzrec.training.build import build_fused
from tzrec.training.placement import limits_of, make_plan, possible, show_plan
from tzrec.training.sharding import prepare_tables

CPU = torch.device("cpu")
FREE = {name: Limits() for name in ("items", "user_id_emb", "cate_emb")}


@pytest.fixture
def pipeline(tmp_path: Path):
    return prepare(str(make_small(tmp_path / "small", rows=300).config)).message


def constrained(
    pipeline, own: dict[str, str], common: str = "", device: torch.device = CPU
) -> dict[str, Limits]:
    for config in pipeline.feature_configs:
        feature = getattr(config, config.WhichOneof("feature"))
        if feature.feature_name in own:
            text_format.Parse(own[feature.feature_name], feature)
    text_format.Parse(common, pipeline.train_config)
    towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
    return limits_of(towers.layout, read_limits(pipeline.train_config.global_embedding_constraints), device)


def test_nothing_said_leaves_the_planner_free(pipeline) -> None:
    assert constrained(pipeline, {}) == FREE


def test_what_a_feature_says_goes_before_what_is_said_for_all(pipeline) -> None:
    """For the table, whichever of the features that share it has said it."""
    found = constrained(
        pipeline,
        {"item_id": 'embedding_constraints { sharding_types: ["row_wise", "table_wise"] }'},
        'global_embedding_constraints { sharding_types: "column_wise" compute_kernels: "fused" }',
    )
    assert found == {
        "items": Limits(("row_wise", "table_wise"), ("fused",)),
        "user_id_emb": Limits(("column_wise",), ("fused",)),
        "cate_emb": Limits(("column_wise",), ("fused",)),
    }


def test_a_table_whose_initial_values_depend_on_its_shape_stays_whole(pipeline) -> None:
    assert constrained(pipeline, {"user_id": 'init_fn: "nn.init.xavier_normal_"'}) == {
        **FREE,
        "user_id_emb": Limits(("table_wise",)),
    }


def test_kernels_of_cuda(pipeline) -> None:
    own = {"cate": 'embedding_constraints { compute_kernels: "fused_uvm" }'}
    assert constrained(pipeline, own, device=torch.device("cuda", 0))["cate_emb"].kernels == ("fused_uvm",)
    message = (
        'compute_kernels: "fused_uvm", for the table "cate_emb", is built on CUDA only, this run is on cpu'
    )
    with pytest.raises(UserError, match=message):
        constrained(pipeline, {})


def test_tables_that_are_looked_up_id_by_id(pipeline) -> None:
    own = {"cate": 'trainable: false embedding_constraints { sharding_types: "row_wise" }'}
    assert constrained(pipeline, own)["cate_emb"].sharding_types == ("row_wise",)
    common = 'global_embedding_constraints { sharding_types: "table_row_wise" }'
    assert constrained(pipeline, {}, common)["cate_emb"].sharding_types == ("row_wise",)
    pipeline.feature_configs[4].id_feature.ClearField("embedding_constraints")
    message = (
        '"table_row_wise" is not to be had for the table "cate_emb", .* take some of table_wise, row_wise'
    )
    with pytest.raises(UserError, match=message):
        constrained(pipeline, {})


@pytest.mark.parametrize(
    ("rows", "processes", "expected"),
    # Pieces of 3 rows: 3, 3, 3, 1; of 2 rows: 2, 2, 1, 0; of 1 row: 1, 1, 1, 0.
    [(10, 4, "row_wise"), (5, 4, "table_wise"), (3, 4, "table_wise"), (3, 3, "row_wise"), (1, 1, "row_wise")],
)
def test_no_rank_is_left_without_rows(rows: int, processes: int, expected: str) -> None:
    assert possible(["row_wise"], rows, World(0, processes, 0, processes)) == [expected]
    # On hosts of one process each nothing is cut, and every other rank has all of it or nothing.
    assert possible(["table_row_wise"], rows, World(0, processes, 0, 1)) == ["table_row_wise"]
    assert possible(["row_wise", "column_wise"], 3, World(0, 4, 0, 4)) == ["column_wise"]


@given(st.integers(1, 200), st.integers(1, 40))
def test_torchrec_cuts_as_it_is_expected_to(rows: int, processes: int) -> None:
    table = torch.empty(rows, 4, device="meta")
    sizes, _ = calculate_shard_sizes_and_offsets(table, processes, processes, "row_wise")
    whole = all(size[0] for size in sizes)
    assert (possible(["row_wise"], rows, World(0, processes, 0, processes)) == ["row_wise"]) == whole


def plan(pipeline, monkeypatch, megabytes: float, limits=FREE, processes: int = 4) -> dict[str, str]:
    """Table -> its sharding type, on four processes with so much memory each."""
    monkeypatch.setattr(placement, "host_memory", lambda: int(megabytes * 2**20) * processes)
    monkeypatch.setattr(placement, "gather", lambda world, value: [value] * world.size)
    pipeline.feature_configs[0].id_feature.num_buckets = 100_000
    towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
    model = build_model(pipeline, towers, table_device="meta")
    prepare_tables(model, build_fused(pipeline.train_config.sparse_optimizer))
    made = make_plan(model, limits, World(0, processes, 0, processes), CPU, 100)
    return {
        name.removeprefix("table_"): choice.sharding_type
        for module in made.plan.values()
        for name, choice in module.items()
    }


def test_only_a_table_that_fits_nowhere_is_cut(pipeline, monkeypatch) -> None:
    """100,000 rows of 8 floats, with Adagrad's sums, are 6.1 MB; four pieces of them 1.5 MB each."""
    whole = {name: "table_wise" for name in FREE}
    assert plan(pipeline, monkeypatch, 100) == whole
    assert plan(pipeline, monkeypatch, 4) == {**whole, "user_id_emb": "row_wise"}
    with pytest.raises(UserError, match=r"the embedding tables, 0\.0 GiB .* find no place on 4 processes"):
        plan(pipeline, monkeypatch, 1)
    with pytest.raises(UserError, match="find no place on 4 processes"):
        plan(pipeline, monkeypatch, 4, {**FREE, "user_id_emb": Limits(("table_wise",))})
    with pytest.raises(UserError, match="find no place on 1 processes"):
        plan(pipeline, monkeypatch, 4, processes=1)


def test_the_planner_chooses_among_the_kinds_it_is_given(pipeline, monkeypatch) -> None:
    kinds = {**FREE, "items": Limits(("row_wise",)), "cate_emb": Limits(("table_wise", "row_wise"))}
    found = plan(pipeline, monkeypatch, 100, kinds)
    assert found["items"] == "row_wise"
    assert found["user_id_emb"] == "table_wise"
    assert found["cate_emb"] in ("table_wise", "row_wise")


def test_the_line_about_the_plan() -> None:
    placed = {
        "table_b": {"sharding": "row_wise", "ranks": [0, 1]},
        "table_a%2Ec": {"sharding": "table_wise", "ranks": [1]},
        "table_a": {"sharding": "table_wise", "ranks": [1]},
    }
    assert show_plan(placed) == "embedding tables: a, a.c table_wise on rank 1; b row_wise on ranks 0, 1"
