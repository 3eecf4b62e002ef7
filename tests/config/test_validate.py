"""Rules across fields: each refusal in its place, the old spelling of fg_mode, flags and edits first."""

# ruff: noqa: E501 (tables of inputs and messages)

import subprocess
import sys

import pytest

from tzrec.config import check_required, load_pipeline, prepare, to_text, validate
from tzrec.protos.data_pb2 import FgMode
from tzrec.runtime.errors import UserError

USER = 'id_feature { feature_name: "user_id" expression: "user:user_id" embedding_dim: 4 num_buckets: 10 }'


def refusal(path, for_training=True):
    with pytest.raises(UserError) as error:
        validate(load_pipeline(path), for_training)
    return str(error.value)


def test_a_good_one_has_nothing_to_say(loaded):
    assert validate(loaded, for_training=True) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('model_dir: "model"', "", 'a.config: the configuration lacks the required field "model_dir"; give it there or by --model_dir'),
        ('expression: "user:user_id"', "", 'a.config:23:3: id_feature lacks the required field "expression"'),
        ("num_epochs: 1", "", "a.config:4:1: training wants num_steps or num_epochs, greater than 0"),
        ("num_epochs: 1", "num_epochs: 1 num_steps: 2", "a.config:7:17: num_steps and num_epochs exclude each other"),
        ("num_epochs: 1", 'num_epochs: 1 fine_tune_ckpt_param_map: "m"', "a.config:7:17: fine_tune_ckpt_param_map maps the names of a fine_tune_checkpoint, and none is given"),
        ("num_buckets: 10", "", 'a.config:23:3: "user_id" wants exactly one of hash_bucket_size, num_buckets, vocab_list, vocab_dict, vocab_file, zch, dynamicemb, got none'),
        ("num_buckets: 10", 'num_buckets: 10 vocab_list: "a"', 'a.config:23:100: "user_id" wants exactly one of hash_bucket_size, num_buckets, vocab_list, vocab_dict, vocab_file, zch, dynamicemb, got num_buckets and vocab_list'),
        ("num_buckets: 10", 'vocab_list: ["a", "b", "a"]', 'a.config:23:84: vocab_list holds "a" twice'),
        ("num_buckets: 10", "num_buckets: 0", "a.config:23:84: num_buckets must be greater than 0"),
        ("boundaries: [1, 2.5]", "boundaries: [1, 1]", "a.config:29:64: boundaries must ascend, none of them twice"),
        ("boundaries: [1, 2.5] embedding_dim: 4", "boundaries: 1", 'a.config:29:64: "price" has boundaries, which want an embedding_dim'),
        ("boundaries: [1, 2.5] embedding_dim: 4", "value_dim: 0", 'a.config:29:64: "price" has no boundaries: value_dim must say how many numbers it has'),
        ("num_buckets: 10", 'num_buckets: 10 pooling: "men"', 'a.config:23:100: pooling is one of "sum", "mean", got "men"; did you mean "mean"?'),
        ("user:user_id", "usr:user_id", 'a.config:23:40: expression "usr:user_id" has the side "usr"; did you mean "user"?'),
        ("user:user_id", "user_id", 'a.config:23:40: expression "user_id" is not side:name; one of user:name, item:name, context:name'),
        ("user:user_id", "const:3", 'a.config:23:40: expression "const:3": const: is for FG_DAG only; here one of user:name, item:name, context:name'),
        ('feature_names: "user_id"', 'feature_names: "user_idd"', 'a.config:32:39: group "user" names the feature "user_idd", which is not there; did you mean "user_id"?'),
        ('["item_id", "price"]', '["item_id", "item_id"]', 'a.config:33:66: group "item" names the feature "item_id" twice'),
        ('group_name: "user"', 'group_name: "item"', "2 errors in a.config:"),
        ('item_tower { input: "item"', 'item_tower { input: "itme"', 'a.config:36:18: item_tower reads the feature group "itme", which is not there; did you mean "item"?'),
        ("losses { softmax_cross_entropy {} }", "", "a.config:31:1: training wants losses"),
        ("adagrad_optimizer { lr: 0.001 } ", "", "a.config:5:3: sparse_optimizer wants an optimizer"),
        ("output_dim: 4", "output_dim: -1", "a.config:37:5: output_dim must be 0 (no last layer) or more, got -1"),
        ("output_dim: 4", "output_dim: 4 temperature: 0", "a.config:37:19: temperature must be greater than 0"),
        ("num_epochs: 1\n}", 'num_epochs: 1\n}\nexport_config { exporter_type: "best" }', 'a.config:9:1: best_exporter_metric "auc" is not evaluated; the metrics are: recall@5, ndcg@5, mrr, loss'),
        ("num_epochs: 1", 'num_epochs: 1 grad_clipping { clipping_type: "nrom" }', 'a.config:7:33: clipping_type is one of "none", "norm", "value", got "nrom"; did you mean "norm"?'),
        ("num_epochs: 1", "num_epochs: 1 grad_clipping { max_gradient: 0 }", "a.config:7:33: max_gradient must be greater than 0"),
        ("num_epochs: 1", "num_epochs: 1 grad_clipping { norm_type: -1 }", "a.config:7:33: norm_type must be greater than 0"),
        ("num_epochs: 1", "num_epochs: 1 grad_scaler {}", 'a.config:7:17: grad_scaler is for mixed_precision: "FP16"; leave it out here'),
        ("num_epochs: 1", 'num_epochs: 1 mixed_precision: "FP16" grad_scaler { growth_factor: 1 }', "a.config:7:55: growth_factor must be greater than 1"),
        ("num_epochs: 1", 'num_epochs: 1 mixed_precision: "FP16" grad_scaler { backoff_factor: 1 }', "a.config:7:55: backoff_factor must be greater than 0 and less than 1"),
        ("num_epochs: 1", 'num_epochs: 1 mixed_precision: "FP16" grad_scaler { init_scale: 0 }', "a.config:7:55: init_scale must be greater than 0"),
        ("num_epochs: 1\n}", "num_epochs: 1\n}\neval_config { use_dense_ema: true }", "a.config:9:15: use_dense_ema wants an average: give train_config.dense_optimizer an ema { decay: 0.999 }"),
        ("num_epochs: 1\n}", "num_epochs: 1\n}\nexport_config { use_dense_ema: true }", "a.config:9:17: use_dense_ema wants an average"),
        ("dense_optimizer { ", "dense_optimizer { ema { decay: 1 } ", "a.config:6:27: decay must be at least 0 and less than 1"),
        ("dense_optimizer { ", 'dense_optimizer { part_optimizers { regex_pattern: "x" } ', "a.config:6:21: part_optimizers wants an optimizer, such as adam_optimizer"),
        ("dense_optimizer { ", 'dense_optimizer { part_optimizers { adam_optimizer {} regex_pattern: "(" } ', 'a.config:6:57: regex_pattern "(" is no pattern of names: missing ), unterminated subpattern'),
        ("dense_optimizer { ", 'dense_optimizer { part_optimizers { adam_optimizer {} regex_pattern: "" } ', 'a.config:6:57: regex_pattern "" is no pattern of names: is empty'),
        ("adam_optimizer { lr: 0.001 } constant_learning_rate {}", "adam_optimizer { lr: 0.001 } manual_step_learning_rate { schedule_sizes: [3, 2] learning_rates: 0.1 }", "a.config:6:50: 2 schedule_sizes and 1 learning_rates; give one rate for each size"),
        ("adam_optimizer { lr: 0.001 } constant_learning_rate {}", "adam_optimizer { lr: 0.001 } manual_step_learning_rate { schedule_sizes: [3, 2] learning_rates: [1, 2] }", "a.config:6:78: schedule_sizes must ascend, none twice"),
        (USER, "", 'a.config:22:1: an empty block: name a feature, such as id_feature { ... }'),
        (USER, USER.replace("user_id", "item_id", 1), "3 errors in a.config:"),
    ],
)  # fmt: skip
def test_one_mistake(written, old, new, line):
    lines = refusal(written(old, new)).splitlines()
    assert any(found.startswith(line) for found in lines), lines


def test_duplicate_names_are_told(written):
    assert 'a.config:26:16: two features are named "user_id"' in refusal(
        written('feature_name: "item_id"', 'feature_name: "user_id"')
    )


def test_training_is_not_asked_of_others(written):
    assert validate(load_pipeline(written("num_epochs: 1", ""))) == []


def test_no_negatives(written):
    loaded = load_pipeline(written())
    loaded.message.data_config.ClearField("negative_sampler")
    with pytest.raises(UserError, match=r"dssm has no negatives"):
        validate(loaded, for_training=True)
    loaded.message.model_config.dssm.in_batch_negative = True
    assert validate(loaded, for_training=True) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("hash_bucket_size: 20", "hash_bucket_size: 20", 'the table "t" but not its rows: 20 and 10'),
        ("hash_bucket_size: 20", 'vocab_list: ["a", "b"]', 'the table "t" but not its rows: 4 and 10'),
        (
            "embedding_dim: 4 hash_bucket_size: 20",
            "embedding_dim: 8 num_buckets: 10",
            "not its embedding_dim: 8 and 4",
        ),
    ],
)
def test_shared_tables_agree(written, old, new, what):
    path = written(old, new)
    loaded = load_pipeline(path)
    for config in loaded.message.feature_configs[:2]:
        config.id_feature.embedding_name = "t"
    with pytest.raises(UserError) as error:
        validate(loaded)
    assert str(error.value).startswith('a.config:26:3: "item_id" and "user_id" share')
    assert what in str(error.value)


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ("fg_encoded: true", "FG_NONE"),
        ("fg_encoded: false", "FG_DAG"),
        ("fg_encoded: false fg_threads: 0", "FG_NORMAL"),
        ("fg_encoded: false fg_mode: FG_BUCKETIZE", "FG_BUCKETIZE"),
    ],
)
def test_fg_encoded_is_the_old_spelling(written, given, mode):
    loaded = load_pipeline(written("fg_mode: FG_NORMAL", given))
    assert validate(loaded) == [f"a.config:12:3: fg_encoded is deprecated; write fg_mode: {mode}"]
    assert FgMode.Name(loaded.message.data_config.fg_mode) == mode
    assert "fg_encoded" not in to_text(loaded.message)


def test_fg_encoded_against_fg_mode(written):
    says = "a.config:12:22: fg_encoded: true contradicts fg_mode: FG_NORMAL; leave out fg_encoded, the old spelling"
    assert refusal(written("fg_mode: FG_NORMAL", "fg_mode: FG_NORMAL fg_encoded: true")) == says


def test_sides_of_a_dag_are_accepted_where_expressions_are_not_read(written):
    path = written("fg_mode: FG_NORMAL", "fg_mode: FG_NONE")
    loaded = load_pipeline(path)
    loaded.message.feature_configs[0].id_feature.expression = "feature:other"
    assert validate(loaded) == []


def test_check_required(written):
    loaded = load_pipeline(written('model_dir: "model"', ""))
    with pytest.raises(UserError, match=r'lacks the required field "model_dir"'):
        check_required(loaded)
    loaded.message.model_dir = "x"
    check_required(loaded)


def test_incomplete_messages_with_maps(loaded):
    for config in loaded.message.feature_configs[:2]:
        config.id_feature.ClearField("expression")
        config.id_feature.vocab_dict["a"] = 3
    with pytest.raises(UserError) as error:
        check_required(loaded)
    assert str(error.value).splitlines()[1:] == [
        'a.config:23:3: id_feature lacks the required field "expression"',
        'a.config:26:3: id_feature lacks the required field "expression"',
    ]


def test_prepare_lets_flags_and_then_edits_override(written):
    path = written('model_dir: "model"', "")
    loaded = prepare(
        path,
        edits='{"eval_input_path": "edited", "train_config.num_epochs": null, "train_config.num_steps": 5}',
        overrides={
            "model_dir": "m",
            "eval_input_path": "flag",
            "train_input_path": None,
            "fine_tune_checkpoint": "c",
        },
        for_training=True,
    )
    message = loaded.message
    assert (message.model_dir, message.eval_input_path, message.train_input_path) == ("m", "edited", "train")
    assert (message.train_config.fine_tune_checkpoint, message.train_config.num_steps) == ("c", 5)
    assert loaded.where("eval_input_path") == "--edit_config_json"
    assert loaded.where("model_dir") == "--model_dir"
    assert loaded.notes == ()


def test_prepare_reports_edits_and_rules_together(written):
    with pytest.raises(UserError) as error:
        prepare(
            written("num_buckets: 10", ""),
            edits='{"model_dirr": 1, "model_config.feature_groups[0].feature_names[0]": "userid"}',
        )
    lines = str(error.value).splitlines()
    assert lines[0] == "3 errors in a.config:"
    assert (
        lines[1]
        == '--edit_config_json: "model_dirr": the configuration has no field "model_dirr"; did you mean "model_dir"?'
    )
    assert lines[2].startswith('a.config:23:3: "user_id" wants exactly one of')
    assert (
        lines[3]
        == '--edit_config_json: group "user" names the feature "userid", which is not there; did you mean "user_id"?'
    )


def test_import_is_light():
    code = "import sys, tzrec.config; sys.exit(any(m in sys.modules for m in ('torch', 'pyarrow', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
