"""Configurations: text that is none, fields that are none, values that cannot be, parts at odds, edits."""

# ruff: noqa: E501 (tables: a row an attack)

import json
from collections.abc import Callable

from tests.bad_input.row import Desk, Row, row

CONFIG = "pipeline.config"


def replaced(old: str, new: str) -> Callable[[Desk], None]:
    """A configuration with another text in it."""
    return lambda desk: desk.replace(CONFIG, old, new)


def written(content: str | bytes) -> Callable[[Desk], None]:
    """Another content in place of the configuration."""
    whole = content.encode() if isinstance(content, str) else content

    def spoil(desk: Desk) -> None:
        (desk / CONFIG).write_bytes(whole)

    return spoil


def spoilt(attack: str, old: str, new: str, says: str | tuple[str, ...], step: str, **more: object) -> Row:
    """Training with a text of the configuration replaced."""
    return row("train", attack, says, step, spoil=replaced(old, new), **more)


def edited(attack: str, edits: dict, says: str | tuple[str, ...], step: str, **more: object) -> Row:
    """Training with --edit_config_json."""
    return row("train", attack, says, step, ("--edit_config_json", json.dumps(edits)), **more)


SPARSE = "adagrad_optimizer { lr: 0.05 } constant_learning_rate {}"
DENSE = "adam_optimizer { lr: 0.003 } constant_learning_rate {}"


TEXT = [
    row("train", "an empty file", CONFIG, "lacks", spoil=written("")),
    row("train", "only comments", CONFIG, "lacks", spoil=written("# nothing\n")),
    row("train", "a block that is not closed", (f"{CONFIG}:", "{"), "close", spoil=written("train_config {\n num_steps: 1")),
    row("train", "a brace too many", f"{CONFIG}:", "}", spoil=lambda desk: (desk / CONFIG).write_text((desk / CONFIG).read_text() + "}\n")),
    row("train", "a text that is not closed", f"{CONFIG}:1", '"', spoil=written('model_dir: "x\n')),
    row("train", "a configuration of bytes that are not UTF-8", CONFIG, "UTF-8", spoil=written(b'model_dir: "\xff\xfe"\n')),
    row("train", "zero bytes", CONFIG, "name of a field", spoil=written(b"\x00" * 64)),
    row("train", "a page of HTML", f"{CONFIG}:1", '"<"', spoil=written("<html>not found</html>\n")),
    row("train", "YAML", f"{CONFIG}:", "text in double quotes", spoil=written("model_dir: x\ntrain:\n  - a\n")),
    row("train", "nested ten thousand deep", CONFIG, "deep", spoil=written("model_config {" * 10000)),
    row("train", "a colon forgotten", f"{CONFIG}:", ":", spoil=replaced("num_steps: 16", "num_steps 16")),
    spoilt("a field misspelt", "num_steps", "num_stepz", (f"{CONFIG}:", '"num_stepz"'), 'did you mean "num_steps"?'),
    spoilt("a block misspelt", "data_config", "data_confg", (f"{CONFIG}:", '"data_confg"'), 'did you mean "data_config"?'),
    spoilt("a field twice", "num_steps: 16", "num_steps: 16 num_steps: 17", (f"{CONFIG}:", "num_steps"), "first in line 7"),
    spoilt("a text for a number", "num_steps: 16", 'num_steps: "16"', (f"{CONFIG}:", "num_steps"), "whole number"),
    spoilt("a fraction for a whole number", "num_steps: 16", "num_steps: 1.5", (f"{CONFIG}:", "num_steps", "1.5"), "whole number"),
    spoilt("a number beyond its type", "num_steps: 16", "num_steps: 99999999999", (f"{CONFIG}:", "num_steps", "99999999999"), "4294967295"),
    spoilt("a negative number of steps", "num_steps: 16", "num_steps: -1", (f"{CONFIG}:", "num_steps", "-1"), "0"),
    spoilt("a word for a switch", "use_tensorboard: false", "use_tensorboard: maybe", (f"{CONFIG}:", "use_tensorboard", "maybe"), "true"),
    spoilt("a word that is none of a list", "FG_DAG", "FG_DAGG", (f"{CONFIG}:", "FG_DAGG"), 'did you mean "FG_DAG"?'),
    spoilt("a value for a block", "constant_learning_rate {}", "constant_learning_rate: 3", (f"{CONFIG}:", "constant_learning_rate"), "{"),
    spoilt("two of which one is allowed", SPARSE, "adagrad_optimizer { lr: 0.05 } sgd_optimizer { lr: 1 }", (f"{CONFIG}:", "adagrad_optimizer", "sgd_optimizer"), "one"),
    spoilt("a list for a single value", "num_steps: 16", "num_steps: [16, 17]", (f"{CONFIG}:", "num_steps"), "whole number"),
    spoilt("not a number", "lr: 0.05", "lr: nan", (f"{CONFIG}:", "lr"), "finite"),
    spoilt("an infinite number", "lr: 0.05", "lr: inf", (f"{CONFIG}:", "lr"), "finite"),
]  # fmt: skip

JSON = [
    row("train", "JSON that ends too early", "pipeline.json:", "end", "--pipeline_config_path pipeline.json", spoil=lambda desk: (desk / "pipeline.json").write_text('{"model_dir": ')),
    row("train", "JSON that is a list", "pipeline.json", "JSON object", "--pipeline_config_path pipeline.json", spoil=lambda desk: (desk / "pipeline.json").write_text("[]")),
    row("train", "JSON with a field misspelt", ("pipeline.json", "model_dirr"), 'did you mean "model_dir"?', "--pipeline_config_path pipeline.json", spoil=lambda desk: (desk / "pipeline.json").write_text('{"model_dirr": "x"}')),
    row("train", "JSON with a field twice", ("pipeline.json", "model_dir"), "first in line 1", "--pipeline_config_path pipeline.json", spoil=lambda desk: (desk / "pipeline.json").write_text('{"model_dir": "x", "model_dir": "y"}')),
    row("train", "JSON with a number for a text", ("pipeline.json", "model_dir"), "text", "--pipeline_config_path pipeline.json", spoil=lambda desk: (desk / "pipeline.json").write_text('{"model_dir": 3}')),
    row("train", "a .config for a .json", "pipeline.json:1", "JSON", "--pipeline_config_path pipeline.json", spoil=lambda desk: (desk / CONFIG).rename(desk / "pipeline.json")),
]  # fmt: skip

EDITS = [
    row("train", "edits that are no JSON", "--edit_config_json", "JSON", "--edit_config_json '{oops'"),
    row("train", "edits that are a list", "--edit_config_json", "{", "--edit_config_json '[1]'"),
    row("train", "an empty text of edits with a blank", "--edit_config_json", "JSON", "--edit_config_json ' '"),
    edited("an edit of a field that is not there", {"data_config.batchsize": 5}, ("--edit_config_json", "batchsize"), 'did you mean "batch_size"?'),
    edited("an edit with a value of another type", {"data_config.batch_size": "many"}, ("--edit_config_json", "many"), "whole number"),
    edited("an edit out of range", {"data_config.batch_size": 0}, ("--edit_config_json", "batch_size"), "greater than 0"),
    edited("an edit beyond the list", {"feature_configs[9].id_feature.embedding_dim": 4}, ("--edit_config_json", "feature_configs[9]"), "5"),
    edited("an edit with an open bracket", {"feature_configs[0.id_feature.embedding_dim": 4}, ("--edit_config_json", "feature_configs[0"), "]"),
    edited("an edit of nothing", {"": 4}, "--edit_config_json", "path"),
    edited("an edit within a number", {"train_config.num_steps.x": 4}, ("--edit_config_json", "num_steps"), "no block"),
    edited("an edit that takes a required field away", {"model_dir": None}, "model_dir", "--model_dir"),
    edited("an edit of a block that is no text of one", {"train_config": "{num_stepz: 3}"}, ("--edit_config_json", "num_stepz"), "num_steps"),
    row("train", "the same edit twice", ("--edit_config_json", "batch_size"), "given twice", """--edit_config_json '{"data_config.batch_size": 5, "data_config.batch_size": 6}'"""),
]  # fmt: skip

PARTS = [
    spoilt("no model_dir", 'model_dir: "model"', "", (CONFIG, '"model_dir"'), "--model_dir"),
    spoilt("no training table", 'train_input_path: "train/*.parquet"', "", (CONFIG, '"train_input_path"'), "--train_input_path"),
    spoilt("no length", "num_steps: 16", "", (CONFIG, "num_steps"), "num_epochs"),
    spoilt("no length but 0", "num_steps: 16", "num_steps: 0", (CONFIG, "num_steps"), "greater than 0"),
    spoilt("steps and passes", "num_steps: 16", "num_steps: 16 num_epochs: 1", ("num_steps", "num_epochs"), "leave one out"),
    spoilt("a batch of nothing", "batch_size: 100", "batch_size: 0", "batch_size", "greater than 0"),
    spoilt("an evaluation batch of nothing", "batch_size: 100", "batch_size: 100 eval_batch_size: 0", "eval_batch_size", "greater than 0"),
    spoilt("a label that is no column", 'label_fields: "clk"', 'label_fields: "clik"', ("train/a.parquet", '"clik"'), 'did you mean "clk"?'),
    spoilt("no negatives", "num_sample: 32", "num_sample: 0", "num_sample", "greater than 0"),
    spoilt("no loss", "losses { softmax_cross_entropy {} }", "", "losses", "softmax_cross_entropy"),
    spoilt("two losses", "losses { softmax_cross_entropy {} }", "losses { softmax_cross_entropy {} } losses { softmax_cross_entropy {} }", "losses", "one"),
    spoilt("no model", "dssm {", "dssm_v2 {", "dssm_v2", "dssm"),
    spoilt("a tower of a group that is not there", 'input: "user"', 'input: "users"', '"users"', 'did you mean "user"?'),
    spoilt("both towers on one group", 'input: "item"', 'input: "user"', '"user"', "group"),
    spoilt("a group with a feature that is not there", '"user_id", "age"', '"user_id", "ages"', '"ages"', 'did you mean "age"?'),
    spoilt("a feature of the user in the group of items", '["item_id", "cate"] group_type', '["item_id", "cate", "age"] group_type', "age", "item"),
    spoilt("layers of no width", "hidden_units: [16]", "hidden_units: [16, 0]", "hidden_units", "greater than 0"),
    spoilt("layers beyond memory", "hidden_units: [16]", "hidden_units: [2000000000]", "hidden_units", "smaller"),
    row("train", "towers of different width", "output_dim", "equal", spoil=lambda desk: (desk.replace(CONFIG, "output_dim: 8", "output_dim: 0"), desk.replace(CONFIG, "hidden_units: [16]", "hidden_units: [24]"))[0]),
    spoilt("a temperature of 0", "temperature: 0.1", "temperature: 0", "temperature", "greater than 0"),
    spoilt("a temperature below 0", "temperature: 0.1", "temperature: -1", "temperature", "greater than 0"),
    spoilt("recall among none", "top_k: 1 ", "top_k: 0 ", "top_k", "greater than 0"),
    spoilt("smoothing of all", "softmax_cross_entropy {}", "softmax_cross_entropy { label_smoothing: 1 }", "label_smoothing", "less than 1"),
    spoilt("dropout of all", "hidden_units: [16]", "hidden_units: [16] dropout_ratio: 1", "dropout_ratio", "less than 1"),
    spoilt("dropout of other layers", "hidden_units: [16]", "hidden_units: [16] dropout_ratio: [0.1, 0.2]", "dropout_ratio", "one a layer"),
    spoilt("an activation that is not there", "hidden_units: [16]", 'hidden_units: [16] activation: "nn.ReLUU"', "nn.ReLUU", "nn.ReLU"),
    spoilt("an activation that lacks arguments", "hidden_units: [16]", 'hidden_units: [16] activation: "nn.Threshold"', "nn.Threshold", "argument"),
    spoilt("a row of nothing to begin a vector with", 'pooling: "mean"', 'pooling: "mean" init_fn: "nn.init.unifrom_"', "unifrom_", "uniform_"),
    spoilt("init_fn without its arguments", 'pooling: "mean"', 'pooling: "mean" init_fn: "nn.init.constant_"', "nn.init.constant_", "val"),
    spoilt("init_fn that is a program", 'pooling: "mean"', """pooling: "mean" init_fn: "__import__('os').system" """, ("init_fn", "__import__"), "nn.init"),
    spoilt("an optimizer for tables that is not built", "adagrad_optimizer { lr: 0.05 }", "adam_w_optimizer { lr: 0.05 }", "adam_w_optimizer", "adam_optimizer"),
    spoilt("no optimizer for tables", SPARSE, "", "sparse_optimizer", "adagrad_optimizer"),
    spoilt("no optimizer for layers", DENSE, "constant_learning_rate {}", "dense_optimizer", "optimizer"),
    spoilt("a rate below 0 for tables", "lr: 0.05", "lr: -0.05", "lr", "0"),
    spoilt("a rate below 0 for layers", "lr: 0.003", "lr: -0.003", "lr", "0"),
    spoilt("a beta of 1", DENSE, "adam_optimizer { lr: 0.003 beta1: 1 } constant_learning_rate {}", "beta1", "less than 1"),
    spoilt("a beta below 0", DENSE, "adam_optimizer { lr: 0.003 beta2: -0.5 } constant_learning_rate {}", "beta2", "0"),
    spoilt("nesterov without momentum", DENSE, "sgd_optimizer { lr: 0.003 momentum: 0 nesterov: true } constant_learning_rate {}", "nesterov", "momentum"),
    spoilt("nesterov with dampening", DENSE, "sgd_optimizer { lr: 0.003 momentum: 0.9 dampening: 0.5 nesterov: true } constant_learning_rate {}", "nesterov", "dampening"),
    spoilt("a decay of weights below 0", DENSE, "adam_optimizer { lr: 0.003 weight_decay: -1 } constant_learning_rate {}", "weight_decay", "0"),
    spoilt("an empty exponential decay", DENSE, "adam_optimizer { lr: 0.003 } exponential_decay_learning_rate {}", "exponential_decay_learning_rate", "decay_size"),
    spoilt("an empty cosine", DENSE, "adam_optimizer { lr: 0.003 } cosine_annealing_learning_rate {}", "cosine_annealing_learning_rate", "T_max"),
    spoilt("steps of rates without rates", DENSE, "adam_optimizer { lr: 0.003 } manual_step_learning_rate { schedule_sizes: [1, 2] learning_rates: 0.1 }", ("schedule_sizes", "learning_rates"), "one rate"),
    spoilt("steps of rates that descend", DENSE, "adam_optimizer { lr: 0.003 } manual_step_learning_rate { schedule_sizes: [2, 1] learning_rates: [0.1, 0.2] }", "schedule_sizes", "ascend"),
    spoilt("clipping to nothing", "num_steps: 16", "num_steps: 16 grad_clipping { max_gradient: 0 }", "max_gradient", "greater than 0"),
    spoilt("clipping by a word that is not there", "num_steps: 16", 'num_steps: 16 grad_clipping { clipping_type: "nrom" }', '"nrom"', 'did you mean "norm"?'),
    spoilt("a precision that is not there", "num_steps: 16", 'num_steps: 16 mixed_precision: "FP8"', '"FP8"', "BF16"),
    spoilt("a scaler without scaling", "num_steps: 16", "num_steps: 16 grad_scaler {}", "grad_scaler", "FP16"),
    spoilt("a file of names that is not there", "num_steps: 16", 'num_steps: 16 fine_tune_checkpoint: "trained/model.ckpt-16" fine_tune_ckpt_param_map: "nowhere"', ("fine_tune_ckpt_param_map", "nowhere"), "cannot be read"),
    spoilt("a map of names without a checkpoint", "num_steps: 16", 'num_steps: 16 fine_tune_ckpt_param_map: "x"', "fine_tune_ckpt_param_map", "fine_tune_checkpoint"),
    spoilt("an average that nobody makes", "data_config {", "eval_config { use_dense_ema: true }\ndata_config {", "use_dense_ema", "ema {"),
    spoilt("the best by a measure that nobody takes", "data_config {", 'export_config { exporter_type: "best" best_exporter_metric: "auc" }\ndata_config {', '"auc"', "recall@5"),
    spoilt("an exporter that is not there", "data_config {", 'export_config { exporter_type: "newest" }\ndata_config {', '"newest"', "latest"),
    spoilt("a part of no parameters", "dense_optimizer {", 'dense_optimizer { part_optimizers { regex_pattern: "nothing_here" adam_optimizer { lr: 0.1 } }', "nothing_here", "parameters are"),
    spoilt("a part whose pattern is none", "dense_optimizer {", 'dense_optimizer { part_optimizers { regex_pattern: "(" adam_optimizer { lr: 0.1 } }', 'regex_pattern "("', "pattern"),
    spoilt("mixing in a buffer of nothing", "num_workers: 2", "num_workers: 2 shuffle: true shuffle_buffer_size: 0", "shuffle_buffer_size", "greater than 0"),
    spoilt("masks that nobody uses", "num_workers: 2", "num_workers: 2 sample_mask_prob: 0.5", "sample_mask_prob", "use_mask"),
    spoilt("a default outside its buckets", 'expression: "user:user_id"', 'expression: "user:user_id" default_value: "200"', (f"{CONFIG}:", "default_value", '"200"'), "give one inside"),
    spoilt("a word for the default of a number", 'expression: "user:age"', 'expression: "user:age" default_value: "young"', (f"{CONFIG}:", "default_value", '"young"'), "give numbers"),
    spoilt("a zero byte in a path", 'train_input_path: "train/*.parquet"', 'train_input_path: "a\\000b"', (f"{CONFIG}:", "train_input_path", "zero byte"), "give a path"),
    spoilt("a checkpoint of a name too long", "num_steps: 16", f'num_steps: 16 fine_tune_checkpoint: "{"b" * 5000}"', "name too long", "shorter name"),
    spoilt("a folder without a checkpoint to begin from", "num_steps: 16", 'num_steps: 16 fine_tune_checkpoint: "train"', "checkpoint train", "give the folder of one"),
    spoilt("a file of names of a name too long", "num_steps: 16", f'num_steps: 16 fine_tune_checkpoint: "trained" fine_tune_ckpt_param_map: "{"b" * 5000}"', "fine_tune_ckpt_param_map", "give a text file"),
    spoilt("a weight column that is not there", "num_workers: 2", 'num_workers: 2 sample_weight_fields: "wight"', '"wight"', "the table has"),
    spoilt("a dataset that is not built", "ParquetDataset", "OdpsDataset", "OdpsDataset", "ParquetDataset"),
    spoilt("a table with more rows than memory", "num_buckets: 200", "num_buckets: 4000000000000", "embedding tables", "smaller"),
    spoilt("a table beyond int64", "num_buckets: 200", "num_buckets: 99999999999999999999", "99999999999999999999", "18446744073709551615"),
    spoilt("a table beyond int64 but not beyond its field", "num_buckets: 200", "num_buckets: 10000000000000000000", "10000000000000000000", "smaller"),
    spoilt("a table with rows of no width", "num_buckets: 200 embedding_dim: 8", "num_buckets: 200 embedding_dim: 0", "embedding_dim", "greater than 0"),
    spoilt("a sharding that is not there", "num_buckets: 200", 'num_buckets: 200 embedding_constraints { sharding_types: "row_wize" }', '"row_wize"', 'did you mean "row_wise"?'),
    spoilt("a kernel of another device", "num_buckets: 200", 'num_buckets: 200 embedding_constraints { compute_kernels: "fused_uvm" }', "fused_uvm", "fused"),
    spoilt("a similarity that is not built", "similarity: COSINE", "similarity: EUCLID", "EUCLID", "INNER_PRODUCT"),
    spoilt("masks of accidental hits without negatives of the batch", "temperature: 0.1", "temperature: 0.1 mask_accidental_hits: true", "mask_accidental_hits", "in_batch_negative"),
    row("train", "no sampler and no negatives of the batch", "dssm has no negatives", "negative_sampler", ("--edit_config_json", '{"data_config.negative_sampler": null}')),
    row("train", "drop_remainder with a batch larger than the table", ("batch_size", "600 rows"), "smaller", ("--edit_config_json", '{"data_config.batch_size": 5000, "data_config.drop_remainder": true}')),
    row("train", "two item id columns", ("item_id_field", '"user_id"'), "leave it out", ("--edit_config_json", '{"data_config.item_id_field": "user_id"}')),
]  # fmt: skip

OTHERS = [
    row(command, f"{attack} in the configuration", says, step, spoil=lambda desk, old=old, new=new: desk.replace("trained/pipeline.config", old, new))
    for command in ("eval", "export")
    for attack, old, new, says, step in (
        ("a field misspelt", "dssm {", "dssmm {", ("trained/pipeline.config", '"dssmm"'), 'did you mean "dssm"?'),
        ("a model_dir that is not there", 'model_dir: "trained"', 'model_dir: "trainedd"', ("trainedd", "checkpoint"), "train first"),
        ("other layers than the checkpoint's", "hidden_units: 16", "hidden_units: 24", ("trained/model.ckpt-16", "does not fit"), "configuration it was"),
        ("another table than the checkpoint's", "num_buckets: 200", "num_buckets: 300", ("trained/model.ckpt-16", "does not fit"), "configuration it was"),
        ("a table named otherwise", 'embedding_name: "items"', 'embedding_name: "itemz"', "itemz", "configuration it was"),
    )
]  # fmt: skip

ROWS = [*TEXT, *JSON, *EDITS, *PARTS, *OTHERS]
