"""Values that no run could use, each refused where it stands; every one was accepted and died later, or trained nonsense.

The attacks: every field of the schema set to 0, to a negative number, to a huge one, to an empty text or block, and
combined with what contradicts it.
"""

# ruff: noqa: E501 (tables of inputs and messages)

import pytest

from tzrec.config import load_pipeline, validate
from tzrec.config.torch_names import ACTIVATIONS
from tzrec.runtime.errors import UserError

DENSE = "adam_optimizer { lr: 0.001 } constant_learning_rate {}"
SPARSE = "adagrad_optimizer { lr: 0.001 } constant_learning_rate {}"
ITEM = "hash_bucket_size: 20"
USER = "embedding_dim: 4 num_buckets: 10"
TOWER = 'user_tower { input: "user" mlp { hidden_units: [8, 4] } }'


def refused(path: str) -> list[str]:
    with pytest.raises(UserError) as error:
        validate(load_pipeline(path), for_training=True)
    lines = str(error.value).splitlines()
    assert all(line.startswith("a.config:") for line in lines[len(lines) > 1 :]), lines
    return lines


# Optimizer -> numbers that are out of its range, and what is said.
OPTIMIZERS = {
    "sgd_optimizer": {
        "lr: -1": "lr must be 0 or more, got -1",
        "lr: nan": "lr must be finite, got nan",
        "lr: inf": "lr must be finite, got inf",
        "lr: 1 momentum: -1": "momentum must be 0 or more",
        "lr: 1 weight_decay: -1": "weight_decay must be 0 or more",
        "lr: 1 nesterov: true momentum: 0": "nesterov: true wants a momentum greater than 0, got 0",
        "lr: 1 nesterov: true dampening: 0.5": "nesterov: true wants dampening: 0, got 0.5",
    },
    "adagrad_optimizer": {
        "lr: -1": "lr must be",
        "lr: 1 initial_accumulator_value: -1": "initial_accumulator_value must be 0 or more",
        "lr: 1 eps: -1": "eps must be greater than 0",
        "lr: 1 eps: 0": "eps must be greater than 0, got 0",
    },
    "adam_optimizer": {
        "lr: 1 beta1: 1": "beta1 must be at least 0 and less than 1, got 1",
        "lr: 1 beta2: -0.1": "beta2 must be at least 0",
        "lr: 1 beta1: 2": "beta1 must be",
        "lr: 1 beta2: nan": "beta2 must be finite",
    },
    "adamw_optimizer": {"lr: 1 beta1: 1": "beta1 must be", "lr: 1 weight_decay: -1": "weight_decay must be"},
    "adadelta_optimizer": {
        "lr: 1 rho: 1.5": "rho must be from 0 to 1, got 1.5",
        "lr: 1 rho: -1": "rho must be",
    },
    "rmsprop_optimizer": {
        "lr: 1 alpha: -1": "alpha must be from 0 to 1",
        "lr: 1 alpha: 2": "alpha must be from 0 to 1",
    },
}


@pytest.mark.parametrize(
    ("kind", "numbers", "message"),
    [(kind, numbers, message) for kind, found in OPTIMIZERS.items() for numbers, message in found.items()],
)
def test_numbers_of_a_dense_optimizer(written, kind: str, numbers: str, message: str) -> None:
    (line,) = refused(written(DENSE, f"{kind} {{ {numbers} }}"))
    assert line.startswith("a.config:6:")
    assert message in line
    part = f'{DENSE} part_optimizers {{ regex_pattern: "x" {kind} {{ {numbers} }} }}'
    assert message in refused(written(DENSE, part))[0]


SCHEDULES = [
    (
        "exponential_decay_learning_rate {}",
        "exponential_decay_learning_rate wants decay_size, greater than 0: steps, or passes with by_epoch: true",
    ),
    ("exponential_decay_learning_rate { decay_size: 0 }", "decay_size must be greater than 0, got 0"),
    (
        "exponential_decay_learning_rate { decay_size: 1 decay_factor: -1 }",
        "decay_factor must be 0 or more, got -1",
    ),
    (
        "exponential_decay_learning_rate { decay_size: 1 min_learning_rate: -1 }",
        "min_learning_rate must be 0 or more",
    ),
    (
        "exponential_decay_learning_rate { decay_size: 1 warmup_learning_rate: -1 }",
        "warmup_learning_rate must be 0 or more",
    ),
    ("cosine_annealing_learning_rate {}", "cosine_annealing_learning_rate wants T_max, greater than 0"),
    ("cosine_annealing_learning_rate { T_max: 0 }", "T_max must be greater than 0"),
    (
        "cosine_annealing_warm_restarts_learning_rate {}",
        "cosine_annealing_warm_restarts_learning_rate wants T_0, greater than 0",
    ),
    ("cosine_annealing_warm_restarts_learning_rate { T_0: 2 T_mult: 0 }", "T_mult must be greater than 0"),
    (
        "manual_step_learning_rate { schedule_sizes: 1 learning_rates: -1 }",
        "learning_rates must be 0 or more, got -1",
    ),
    (
        "manual_step_learning_rate { schedule_sizes: 1 learning_rates: nan }",
        "learning_rates must be finite, got nan",
    ),
]


@pytest.mark.parametrize(("schedule", "message"), SCHEDULES)
@pytest.mark.parametrize("whole", [DENSE, SPARSE])
def test_schedules(written, whole: str, schedule: str, message: str) -> None:
    (line,) = refused(written(whole, whole.replace("constant_learning_rate {}", schedule)))
    assert message in line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (SPARSE, "adagrad_optimizer { lr: -1 }", "a.config:5:42: lr must be 0 or more, got -1"),
        (SPARSE, "adam_optimizer { lr: 1 beta1: 1 }", "beta1 must be at least 0 and less than 1, got 1"),
        (SPARSE, "lars_sgd_optimizer { lr: 1 momentum: -1 }", "momentum must be 0 or more"),
        (SPARSE, "rowwise_adagrad_optimizer { lr: 1 weight_decay: -1 }", "weight_decay must be 0 or more"),
        (ITEM, f'{ITEM} init_fn: "nn.init.constant_"', "init_fn: constant_ wants val, such as nn.init.constant_,val=0.5"),
        (ITEM, f'{ITEM} init_fn: "nn.init.sparse_"', "init_fn: sparse_ wants sparsity"),
        (ITEM, f'{ITEM} init_fn: "nn.init.sparse_,sparsity=2"', "sparsity must be from 0 to 1, got 2"),
        (ITEM, f'{ITEM} init_fn: "nn.init.dirac_"', 'init_fn: "nn.init.dirac_" is for the kernels of convolutions; take one such as nn.init.uniform_'),
        (ITEM, f'{ITEM} init_fn: "nn.init.normal_,std=-1"', "normal_: std must be 0 or more, got -1"),
        (ITEM, f'{ITEM} init_fn: "nn.init.normal_,std=nan"', "is not nn.init.NAME,argument=number"),
        (ITEM, f'{ITEM} init_fn: "nn.init.normal_,std"', "is not nn.init.NAME,argument=number"),
        (ITEM, f'{ITEM} init_fn: "nn.init.normal_,sdt=1"', 'normal_ has no argument "sdt"; did you mean "std"?'),
        (ITEM, f'{ITEM} init_fn: "nn.init.normal_,std=1,std=2"', "gives std twice"),
        (ITEM, f'{ITEM} init_fn: "nn.init.ones_,a=2"', 'ones_ has no argument "a"; it has none'),
        (ITEM, f'{ITEM} init_fn: "nn.init.kaiming_uniform_,mode=2"', 'kaiming_uniform_ has no argument "mode"'),
        (ITEM, f'{ITEM} init_fn: "nn.init.uniform_,a=1,b=-1"', "uniform_ draws from a to b, got a=1 and b=-1"),
        (ITEM, f'{ITEM} init_fn: "nn.init.uniform_,a=2"', "uniform_ draws from a to b, got a=2 and b=1"),
        (ITEM, f'{ITEM} init_fn: "uniform"', 'no function "uniform" in nn.init; did you mean "uniform_"?'),
        (ITEM, f'{ITEM} init_fn: "nn.init.orthogonal_" data_type: "FP16"', 'orthogonal_ needs data_type: "FP32"'),
        ("[8, 4] } }\n    item", '[8, 4] activation: "nn.Threshold" } }\n    item', 'a.config:35:59: activation "nn.Threshold" needs arguments; take another of torch.nn, such as nn.ReLU'),
        ("[8, 4] } }\n    item", '[8, 4] activation: "nn.GLU" } }\n    item', 'activation "nn.GLU" halves the width'),
        ("[8, 4] } }\n    item", '[8, 4] activation: "nn.ReLo" } }\n    item', 'no activation "nn.ReLo"; did you mean "ReLU"?'),
        ("[8, 4] } }\n    item", '[8, 4] activation: "" } }\n    item', 'no activation ""; take one such as nn.ReLU'),
        ("[8, 4] } }\n    item", '[8, 4] activation: "a\\nb" } }\n    item', 'no activation "a\\x0ab"; take one'),
        ("[8, 4] } }\n    item", "[8, 4] dropout_ratio: [0.1, 0.1, 0.1] } }\n    item", "a.config:35:59: dropout_ratio: 3 ratios for 2 layers; give one, or one a layer"),
        ("[8, 4] } }\n    item", "[8, 4] dropout_ratio: 1 } }\n    item", "dropout_ratio must be at least 0 and less than 1, got 1"),
        ("[8, 4] } }\n    item", "[8, 0] } }\n    item", "hidden_units must be greater than 0, got 0"),
        ('item_tower { input: "item"', 'item_tower { input: "user"', 'a.config:36:18: both towers read the feature group "user"; give each tower its own group'),
        ("[8, 4] } }\n    output_dim: 4", "[8, 5] } }\n    output_dim: 0", "a.config:36:38: without output_dim the vectors are as wide as the last hidden_units: 4 of user_tower, 5 of item_tower; make them equal or set output_dim"),
        ("num_buckets: 10", "num_buckets: 18446744073709551615", 'a.config:23:3: the table of "user_id" has 18446744073709551615 rows of 4 numbers, more than 64 bits can address'),
        ("num_buckets: 10", "hash_bucket_size: 9223372036854775807", "more than 64 bits can address"),
        ("num_buckets: 10", 'vocab_file: "a" default_bucketize_value: 18446744073709551615', "default_bucketize_value is an id of the table, at most 2147483647"),
        ("losses {", "variational_dropout { regularization_lambda: -1 } losses {", "regularization_lambda must be 0 or more, got -1"),
        ("losses {", "losses { softmax_cross_entropy {} } losses {", "a.config:39:39: 2 losses; this model has one label, give one loss"),
        ("batch_size: 16", "batch_size: 16 shuffle: true shuffle_buffer_size: 0", "shuffle_buffer_size batches, which must be greater than 0, got 0; or set shuffle: false"),
        ("batch_size: 16", "batch_size: 16 sample_mask_prob: 2", "sample_mask_prob must be from 0 to 1"),
        ("batch_size: 16", "batch_size: 16 negative_sample_mask_prob: -1", "negative_sample_mask_prob must be from 0 to 1"),
        ("num_sample: 8", 'num_sample: 8 field_delimiter: "ab"', 'field_delimiter "ab" is not one ASCII character'),
        ("num_sample: 8", 'num_sample: 8 field_delimiter: "\\n"', 'a.config:16:19: field_delimiter "\\x0a" is not one ASCII character'),
        ("boundaries: [1, 2.5] embedding_dim: 4", "embedding_dim: 4 autodis { num_channels: 0 }", "num_channels must be greater than 0, got 0"),
        ("boundaries: [1, 2.5] embedding_dim: 4", "embedding_dim: 4 autodis { num_channels: 2 keep_prob: 2 }", "keep_prob must be from 0 to 1, got 2"),
        ("boundaries: [1, 2.5] embedding_dim: 4", "embedding_dim: 4 autodis { num_channels: 2 temperature: 0 }", "temperature must be greater than 0, got 0"),
        ('model_dir: "model"', 'model_dir: "a\\000b"', "model_dir holds a zero byte, which no path can"),
        ("num_buckets: 10", 'vocab_file: "a\\0b" default_bucketize_value: 1', "vocab_file holds a zero byte"),
        ("boundaries: [1, 2.5]", "boundaries: [1, inf]", "boundaries must be finite, got inf"),
    ],
)  # fmt: skip
def test_one_value(written, old: str, new: str, message: str) -> None:
    lines = refused(written(old, new))
    assert len(lines) == 1, lines
    assert message in lines[0]


def test_a_table_of_any_width_is_filled_up_and_told(written) -> None:
    loaded = load_pipeline(written(USER, "embedding_dim: 6 num_buckets: 10"))
    (note,) = validate(loaded, for_training=True)
    says = 'embedding_dim 6: in memory and in checkpoints the rows of the table of "user_id" are filled up with zeros to 8'
    assert note.startswith(f"a.config:23:67: {says}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("rowwise_adagrad_optimizer { lr: 1 }", "embedding_dim 6 is no multiple of 4, and the steps of rowwise_adagrad_optimizer follow from the mean of a whole row"),
        ('sgd_optimizer { lr: 1 } } global_embedding_constraints { sharding_types: "column_wise"', '"column_wise" cuts the rows of "user_id" into pieces of four numbers'),
    ],
)  # fmt: skip
def test_what_a_table_of_any_width_does_not_have(written, config: str, message: str) -> None:
    loaded = load_pipeline(written(SPARSE, config))
    assert validate(loaded, for_training=True) == []
    loaded.message.feature_configs[0].id_feature.embedding_dim = 6
    with pytest.raises(UserError) as error:
        validate(loaded, for_training=True)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *((DENSE, f"{kind} {{ lr: 0 }}") for kind in OPTIMIZERS),
        (DENSE, "sgd_optimizer { lr: 1 nesterov: true momentum: 0.5 }"),
        (DENSE, "adam_optimizer { lr: 1 beta1: 0 beta2: 0 }"),
        (DENSE, "adadelta_optimizer { lr: 1 rho: 1 }"),
        (DENSE, "adam_optimizer { lr: 1 } exponential_decay_learning_rate { decay_size: 1 decay_factor: 0 }"),
        (DENSE, "adam_optimizer { lr: 1 } manual_step_learning_rate {}"),
        (ITEM, f'{ITEM} init_fn: "nn.init.constant_,val=-1"'),
        (ITEM, f'{ITEM} init_fn: "torch.nn.init.trunc_normal_, std=0.1, a=-1, b=1"'),
        (TOWER, 'user_tower { input: "user" }'),
        *((TOWER, TOWER.replace("] }", f'] activation: "nn.{name}" }}')) for name in ACTIVATIONS),
    ],
)
def test_what_is_accepted(written, old: str, new: str) -> None:
    assert validate(load_pipeline(written(old, new)), for_training=True) == []
