"""Where embedding tables may lie: words that are not known, and those that would not be exact."""

# ruff: noqa: E501 (messages)

import pytest

from tzrec.config import load_pipeline, validate
from tzrec.config.sharding_rules import SHARDING_TYPES, can_be_cut
from tzrec.runtime.errors import UserError

CONFIG = """
train_input_path: "a" eval_input_path: "b" model_dir: "c"
train_config {{
  sparse_optimizer {{ {optimizer} {{ lr: 1 }} }} dense_optimizer {{ sgd_optimizer {{ lr: 1 }} }} num_steps: 1
  {common}
}}
data_config {{ dataset_type: ParquetDataset fg_mode: FG_DAG }}
feature_configs {{ id_feature {{ feature_name: "u" expression: "user:u" embedding_dim: 4 num_buckets: 5
  embedding_name: "t" {u} }} }}
feature_configs {{ id_feature {{ feature_name: "i" expression: "item:i" embedding_dim: 4 num_buckets: 5
  embedding_name: "t" {i} }} }}
feature_configs {{ raw_feature {{ feature_name: "r" expression: "user:r" {r} }} }}
model_config {{
  feature_groups {{ group_name: "user" feature_names: ["u", "r"] group_type: DEEP }}
  feature_groups {{ group_name: "item" feature_names: "i" group_type: DEEP }}
  dssm {{ user_tower {{ input: "user" }} item_tower {{ input: "item" }} output_dim: 4 in_batch_negative: true }}
  losses {{ softmax_cross_entropy {{}} }}
}}
"""


def check(tmp_path, optimizer: str = "adagrad_optimizer", common: str = "", u="", i="", r="") -> str:
    """The notes, or the mistakes."""
    common = common and f"global_embedding_constraints {{ {common} }}"
    u, i, r = (each.replace("own {", "embedding_constraints {") for each in (u, i, r))
    text = CONFIG.format(optimizer=optimizer, common=common, u=u, i=i, r=r)
    (tmp_path / "a.config").write_text(text)
    try:
        return "\n".join(validate(load_pipeline(str(tmp_path / "a.config")), for_training=True))
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("kind", SHARDING_TYPES)
def test_every_kind_that_is_built(tmp_path, kind: str) -> None:
    limits = f'sharding_types: "{kind}" compute_kernels: ["fused", "fused_uvm", "fused_uvm_caching"]'
    assert check(tmp_path, common=limits) == ""
    # One of two features that share a table, or both alike in any order.
    assert check(tmp_path, u=f"own {{ {limits} }}") == ""
    both = [f'own {{ sharding_types: ["{a}", "{b}"] }}' for a, b in ((kind, "row_wise"), ("row_wise", kind))]
    assert check(tmp_path, u=both[0], i=both[1]) == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"common": 'sharding_types: "row_wize"'}, 'a.config:5:34: sharding_types: "row_wize" is not known; it is one of table_wise, row_wise, table_row_wise, column_wise; did you mean "row_wise"?'),
        ({"u": 'own { sharding_types: ["row_wise", "tw"] }'}, 'sharding_types: "tw" is not known; it is one of table_wise'),
        ({"common": 'sharding_types: "data_parallel"'}, '"data_parallel" trains tables with a dense optimizer, and sparse_optimizer would be ignored; take some of table_wise'),
        ({"common": 'sharding_types: "grid_shard"'}, "gives a table a wrong shape on ranks that get no piece of it"),
        ({"i": 'own { sharding_types: "table_column_wise" }'}, "gives a table a wrong shape"),
        ({"i": 'own { compute_kernels: "fussed" }'}, 'compute_kernels: "fussed" is not known; it is one of fused, fused_uvm, fused_uvm_caching; did you mean "fused"?'),
        ({"i": 'own { compute_kernels: "dense" }'}, '"dense" trains tables with a dense optimizer'),
        ({"i": 'own { compute_kernels: "quant" }'}, '"quant" is for serving'),
        ({"i": 'own { compute_kernels: "key_value" }'}, '"key_value" keeps rows in a store of its own'),
        ({"u": 'own { sharding_types: "row_wise" }', "i": 'own { sharding_types: "table_wise" }'}, '"i" and "u" share the table "t" but not its sharding_types: table_wise and row_wise; say it at one of them'),
        ({"u": 'own { compute_kernels: "fused" }', "i": 'own { compute_kernels: "fused_uvm" }'}, '"i" and "u" share the table "t" but not its compute_kernels'),
        ({"r": 'own { sharding_types: "row_wise" }'}, 'embedding_constraints changes nothing: "r" looks up no table'),
        ({"optimizer": "rowwise_adagrad_optimizer", "common": 'sharding_types: ["row_wise", "column_wise"]'}, '"column_wise" cuts rows, and the steps of rowwise_adagrad_optimizer follow from whole rows; take table_wise, row_wise or table_row_wise, or adagrad_optimizer'),
        ({"u": 'init_fn: "nn.init.xavier_uniform_" own { sharding_types: "row_wise" }'}, '"row_wise" cuts the table of "u", whose init_fn nn.init.xavier_uniform_ depends on its shape; give that feature embedding_constraints { sharding_types: "table_wise" }'),
        ({"u": 'init_fn: "nn.init.xavier_uniform_"', "i": 'own { sharding_types: "row_wise" }'}, 'cuts the table of "u"'),
        ({"u": 'init_fn: "nn.init.xavier_uniform_"', "common": 'sharding_types: "row_wise"'}, 'a.config:5:34: sharding_types: "row_wise" cuts the table of "u"'),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, given: dict[str, str], message: str) -> None:
    assert message in check(tmp_path, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "rowwise_adagrad_optimizer", "common": 'sharding_types: "row_wise"'},
        {"u": 'init_fn: "nn.init.xavier_uniform_"', "common": 'sharding_types: "table_wise"'},
        {
            "u": 'init_fn: "nn.init.xavier_uniform_" own { sharding_types: "table_wise" }',
            "common": 'sharding_types: "row_wise"',
        },
        {"u": 'init_fn: "nn.init.normal_,std=0.1"', "common": 'sharding_types: "row_wise"'},
    ],
)
def test_what_is_not(tmp_path, given: dict[str, str]) -> None:
    assert check(tmp_path, **given) == ""


def test_initial_values_that_do_not_depend_on_the_shape() -> None:
    assert all(
        can_be_cut(name) for name in ("", "nn.init.uniform_,a=-1,b=1", "normal_", "torch.nn.init.ones_")
    )
    assert not any(
        can_be_cut(name) for name in ("nn.init.kaiming_normal_", "xavier_uniform_,gain=2", "orthogonal_")
    )
