"""What the schema knows and this version has not built is refused by name."""

# ruff: noqa: E501 (tables of inputs and messages)

import pytest

from tzrec.config import check_device, load_pipeline, validate
from tzrec.config.supported import BUILT, Only
from tzrec.protos import pipeline_pb2
from tzrec.runtime.errors import UserError

NOT = "is not built yet in this version"
USER = 'id_feature { feature_name: "user_id" expression: "user:user_id" embedding_dim: 4 num_buckets: 10 }'


def lines_of(path):
    with pytest.raises(UserError) as error:
        validate(load_pipeline(path))
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("num_buckets: 10", "zch { zch_size: 5 }", f"a.config:23:84: zch of id_feature {NOT}"),
        ("ParquetDataset", "OdpsDataset", f"a.config:11:3: dataset_type: OdpsDataset {NOT}; built are ParquetDataset, CsvDataset"),
        ("output_dim: 4", "output_dim: 4 similarity: EUCLID", f"a.config:37:19: similarity: EUCLID {NOT}; built are COSINE, INNER_PRODUCT"),
        ("adagrad_optimizer {", "adadelta_optimizer {", f"a.config:5:22: adadelta_optimizer {NOT}; built are sgd_optimizer, adagrad_optimizer, adam_optimizer, "),
        ("recall_at_k { top_k: 5 }", "auc {}", f"a.config:40:13: auc {NOT}; built is recall_at_k"),
        ("softmax_cross_entropy", "l2_loss", f"a.config:39:12: l2_loss {NOT}; built is softmax_cross_entropy"),
        ("group_type: DEEP", "group_type: SEQUENCE", f"a.config:32:64: group_type: SEQUENCE {NOT}; built is DEEP"),
        ("num_epochs: 1", 'num_epochs: 1 tensorboard_summaries: ["loss", "gradients"]', f'a.config:7:49: tensorboard_summaries: "gradients" {NOT}; built are "loss", "learning_rate"'),
        ("batch_size: 16", "batch_size: 16 batch_cost_size: 5", f"a.config:10:18: batch_cost_size of data_config {NOT}"),
        ("losses {", "num_class: 2 losses {", f"a.config:39:3: num_class: 2 {NOT}; built is 1"),
        ("losses {", "kernel: TRITON losses {", f"a.config:39:3: kernel: TRITON {NOT}; built is PYTORCH"),
        ("losses {", "train_metrics { auc {} } losses {", f"a.config:39:3: train_metrics of model_config {NOT}"),
        ("fg_mode: FG_NORMAL", "fg_mode: FG_DAG", None),
    ],
)  # fmt: skip
def test_refused_by_name(written, old, new, line):
    path = written(old, new)
    if line is None:
        assert validate(load_pipeline(path)) == []
    else:
        lines = lines_of(path)
        assert any(found.startswith(line) for found in lines), lines


def test_a_feature_that_is_not_there(written):
    path = written("fg_mode: FG_NORMAL", "fg_mode: FG_DAG")
    loaded = load_pipeline(path)
    loaded.message.feature_configs[0].id_feature.expression = "feature:pric"
    with pytest.raises(
        UserError, match=r'23:40: "user_id" reads the feature "pric", .*; did you mean "price"'
    ):
        validate(loaded)


def test_defaults_ask_for_nothing(written):
    path = written(
        "batch_size: 16",
        'batch_size: 16 with_header: false delimiter: "," sample_mask_prob: 0 odps_data_quota_name: "pay-as-you-go"',
    )
    assert validate(load_pipeline(path)) == []
    assert (
        validate(load_pipeline(written("num_buckets: 10", "num_buckets: 10 weighted: false trainable: true")))
        == []
    )


def test_odps_fields_are_noted(written):
    path = written("batch_size: 16", 'batch_size: 16 odps_data_quota_name: "mine"')
    says = "a.config:10:18: odps_data_quota_name has no meaning for ParquetDataset and changes nothing"
    assert validate(load_pipeline(path)) == [says]


def test_sparse_optimizers_by_device(written):
    loaded = load_pipeline(written("adagrad_optimizer {", "adam_optimizer {"))
    assert validate(loaded) == []
    check_device(loaded, "cuda:0")
    with pytest.raises(UserError) as error:
        check_device(loaded, "cpu")
    assert str(error.value) == (
        "a.config:5:22: adam_optimizer is built on CUDA only, this run is on cpu; "
        "there take sgd_optimizer, adagrad_optimizer, rowwise_adagrad_optimizer"
    )
    check_device(load_pipeline(written()), "cpu")


@pytest.mark.parametrize("mode", ["L2", "DECOUPLE"])
def test_weight_decay_of_rowwise_adagrad_is_no_silent_nothing(written, mode):
    """The attack: fbgemm's kernel for CPUs takes the field and drops it."""
    decay = "rowwise_adagrad_optimizer { weight_decay: 0.1"
    loaded = load_pipeline(written("adagrad_optimizer {", f"{decay} weight_decay_mode: {mode}"))
    assert validate(loaded) == []
    check_device(loaded, "cuda:0")
    check_device(loaded, "cpu", training=False)
    with pytest.raises(UserError) as error:
        check_device(loaded, "cpu")
    assert str(error.value) == (
        "a.config:5:68: weight_decay of rowwise_adagrad_optimizer is built on CUDA only, this run is on cpu; "
        "leave weight_decay_mode at NONE"
    )
    loaded = load_pipeline(written("adagrad_optimizer {", decay))
    assert validate(loaded) == [
        "a.config:5:50: weight_decay changes nothing with weight_decay_mode: NONE; for a decay say L2 or DECOUPLE"
    ]
    check_device(loaded, "cpu")


def test_fp16_by_device(written):
    loaded = load_pipeline(written("num_epochs: 1", 'num_epochs: 1 mixed_precision: "FP16"'))
    check_device(loaded, "cuda:0")
    with pytest.raises(UserError) as error:
        check_device(loaded, "cpu")
    line = 'a.config:7:17: mixed_precision: "FP16" is for CUDA only, this run is on cpu; there take "BF16"'
    assert str(error.value) == line


def test_the_table_names_what_the_schema_has():
    pool = pipeline_pb2.DESCRIPTOR.pool
    for message, table in BUILT.items():
        fields = pool.FindMessageTypeByName(f"tzrec.protos.{message}").fields_by_name
        assert set(table) <= set(fields), message
        for name, limit in table.items():
            if isinstance(limit, Only) and fields[name].enum_type:
                assert set(limit.values) <= set(fields[name].enum_type.values_by_name), name
