"""What is built in this version. The schema knows more; whoever builds a part of it adds a line here."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field

from tzrec.config.load import Loaded
from tzrec.config.tree import together
from tzrec.config.walk import Mistake, Set, all_set
from tzrec.protos.data_pb2 import DatasetType


@dataclass(frozen=True)
class Only:
    """A field of which some values are built."""

    values: tuple[Any, ...]


def only(*values: Any) -> Only:
    """The values of a field (names, for an enum) that are built."""
    return Only(values)


def built(fields: str = "", **limited: Only) -> dict[str, Only | None]:
    """The fields of a message that are built: those without a limit in one text, the others by name."""
    return {**dict.fromkeys(fields.split()), **limited}


# Fields that features have in common: every one, those with vocabularies, those of numbers.
_EVERY = (
    "feature_name embedding_name embedding_dim pooling init_fn use_mask fg_encoded_default_value trainable "
    "stub_type data_type embedding_constraints sequence_length sequence_delim sequence_fields"
)
_WORDS = (
    "vocab_list vocab_dict vocab_file asset_dir default_bucketize_value value_dim default_value separator"
)
_DENSE = "autodis mlp"

# Message type -> its built fields. Of a type that is not here everything is built. A field that is set
# to its default asks for nothing and is never refused, except by `only`.
BUILT: dict[str, dict[str, Only | None]] = {
    "TrainConfig": built(
        "sparse_optimizer dense_optimizer num_steps num_epochs save_checkpoints_steps "
        "save_checkpoints_epochs fine_tune_checkpoint fine_tune_ckpt_param_map log_step_count_steps "
        "is_profiling use_tensorboard "
        "keep_checkpoint_max global_embedding_constraints cudnn_allow_tf32 cuda_matmul_allow_tf32 "
        "grad_clipping mixed_precision grad_scaler gradient_accumulation_steps",
        tensorboard_summaries=only(
            "loss", "learning_rate", "parameter", "gradient", "gradient_norm", "global_gradient_norm"
        ),
    ),
    "SparseOptimizer": built(
        "sgd_optimizer adagrad_optimizer rowwise_adagrad_optimizer adam_optimizer lars_sgd_optimizer "
        "lamb_optimizer partial_rowwise_lamb_optimizer partial_rowwise_adam_optimizer "
        "constant_learning_rate exponential_decay_learning_rate manual_step_learning_rate "
        "cosine_annealing_learning_rate cosine_annealing_warm_restarts_learning_rate"
    ),
    "DenseOptimizer": built(
        "sgd_optimizer adagrad_optimizer adam_optimizer adamw_optimizer adadelta_optimizer rmsprop_optimizer "
        "constant_learning_rate exponential_decay_learning_rate manual_step_learning_rate "
        "cosine_annealing_learning_rate cosine_annealing_warm_restarts_learning_rate part_optimizers ema"
    ),
    "EvalConfig": built("num_steps log_step_count_steps use_dense_ema"),
    "ExportConfig": built(
        "best_exporter_metric metric_larger_is_better cudnn_allow_tf32 cuda_matmul_allow_tf32 "
        "mixed_precision use_dense_ema",
        exporter_type=only("latest", "best"),
    ),
    "DataConfig": built(
        "batch_size fg_mode fg_encoded fg_encoded_multival_sep label_fields num_workers pin_memory "
        "input_fields eval_batch_size drop_remainder fg_threads shuffle shuffle_buffer_size "
        "sample_weight_fields in_order negative_sampler negative_sampler_v2 "
        "hard_negative_sampler hard_negative_sampler_v2 item_id_field is_orderby_partition "
        "odps_data_quota_name odps_data_compression force_base_data_group "
        "delimiter with_header input_fields_str sample_mask_prob negative_sample_mask_prob",
        dataset_type=only("ParquetDataset", "CsvDataset"),
    ),
    "IdFeature": built(f"expression hash_bucket_size num_buckets weighted fg_value_type {_WORDS} {_EVERY}"),
    "RawFeature": built(
        f"expression boundaries normalizer value_dim default_value separator {_DENSE} {_EVERY}"
    ),
    "ComboFeature": built(f"expression hash_bucket_size {_WORDS} {_EVERY}"),
    "LookupFeature": built(
        "map key boundaries hash_bucket_size num_buckets combiner need_discrete need_key normalizer "
        f"value_separator fg_value_type {_WORDS} {_DENSE} {_EVERY}"
    ),
    "MatchFeature": built(
        "nested_map pkey skey boundaries hash_bucket_size num_buckets need_discrete show_pkey show_skey "
        f"normalizer fg_value_type {_WORDS} {_DENSE} {_EVERY}"
    ),
    "ExprFeature": built(
        f"expression variables boundaries separator fill_missing default_value value_dim {_DENSE} {_EVERY}"
    ),
    "OverlapFeature": built(f"query title method boundaries normalizer separator {_DENSE} {_EVERY}"),
    "TokenizeFeature": built(
        "expression text_normalizer vocab_file asset_dir default_value tokenizer_type tokens_as_sequence "
        f"{_EVERY}"
    ),
    "KvDotProduct": built(f"query document boundaries separator normalizer default_value {_DENSE} {_EVERY}"),
    "BoolMaskFeature": built(f"expression hash_bucket_size num_buckets fg_value_type {_WORDS} {_EVERY}"),
    "CombineFeature": built(
        f"expression value_map boundaries num_buckets default_value separator normalizer combiner {_DENSE} "
        f"{_EVERY}"
    ),
    "ModelConfig": built(
        "feature_groups dssm losses metrics variational_dropout",
        num_class=only(1),
        kernel=only("PYTORCH"),
    ),
    "FeatureGroupConfig": built(
        "group_name feature_names sequence_groups sequence_encoders embedding_name_suffix",
        group_type=only("DEEP"),
    ),
    "DSSM": built(
        "user_tower item_tower output_dim temperature in_batch_negative mask_accidental_hits logq_correction",
        similarity=only("COSINE", "INNER_PRODUCT"),
    ),
    "LossConfig": built("softmax_cross_entropy"),
    "MetricConfig": built("recall_at_k"),
}

# Set in a configuration that came from elsewhere; without meaning for the tables that are read here.
_WITHOUT_MEANING = {
    "DataConfig": (
        "is_orderby_partition",
        "odps_data_quota_name",
        "odps_data_compression",
        "force_base_data_group",
        # Batches keep their order whatever makes them; features are computed by the threads that
        # num_workers counts.
        "in_order",
        "fg_threads",
    ),
    # For whoever computes features online: it is written to fg.json.
    "SequenceFeature": ("sequence_pk",),
}
# Of CsvDataset only: the names and types stand in the parquet files.
_OF_CSV = ("input_fields", "input_fields_str", "delimiter", "with_header")
SPARSE_ON_CUDA_ONLY = (
    "adam_optimizer",
    "lars_sgd_optimizer",
    "lamb_optimizer",
    "partial_rowwise_lamb_optimizer",
    "partial_rowwise_adam_optimizer",
)
_NOT_BUILT = "is not built yet in this version"


def not_built(message: Any) -> list[Mistake]:
    """Everything that the configuration asks for and this version does not have."""
    mistakes = []
    for one in all_set(message):
        table = BUILT.get(one.parent.DESCRIPTOR.name)
        if table is None:
            continue
        limit = table.get(one.field.name)
        if one.field.name not in table:
            if not _is_default(one):
                mistakes.append(Mistake(one.path, _unknown_part(one, table)))
        elif limit is not None:
            mistakes += _beyond(one, limit)
    return mistakes


def without_meaning(message: Any) -> list[Mistake]:
    """Fields that are accepted and change nothing here."""
    kind = DatasetType.Name(message.data_config.dataset_type)
    without = dict(_WITHOUT_MEANING)
    if kind != "CsvDataset":
        without["DataConfig"] += _OF_CSV
    return _without_mode(message) + [
        Mistake(one.path, f"{one.field.name} has no meaning for {kind} and changes nothing")
        for one in all_set(message)
        if one.field.name in without.get(one.parent.DESCRIPTOR.name, ())
        and not _is_default(one)
        # fg_threads: 0 beside the old fg_encoded says FG_NORMAL.
        and not (one.field.name == "fg_threads" and one.parent.fg_threads == 0)
    ]


def _without_mode(message: Any) -> list[Mistake]:
    rowwise = message.train_config.sparse_optimizer.rowwise_adagrad_optimizer
    if not rowwise.weight_decay or rowwise.weight_decay_mode:
        return []
    what = "weight_decay changes nothing with weight_decay_mode: NONE; for a decay say L2 or DECOUPLE"
    path = "train_config.sparse_optimizer.rowwise_adagrad_optimizer.weight_decay"
    return [Mistake(path, what)]


def check_device(loaded: Loaded, device: str, training: bool = True) -> None:
    """Whether what trains the model exists on a device; see `missing_on`.

    Args:
        loaded: a validated configuration.
        device: such as "cpu" or "cuda:0".
        training: the tables will be updated, not only read.

    Raises:
        UserError: something runs on CUDA only and `device` is another.
    """
    if mistakes := missing_on(loaded.message, device, training):
        raise together(loaded.path, [f"{loaded.where(one.path)}: {one.what}" for one in mistakes])


def missing_on(message: Any, device: str, training: bool = True) -> list[Mistake]:
    """What a configuration asks for that is built on CUDA only, where `device` is another."""
    if device.startswith("cuda"):
        return []
    mistakes = []
    if message.train_config.mixed_precision == "FP16":
        what = f'mixed_precision: "FP16" is for CUDA only, this run is on {device}; there take "BF16"'
        mistakes.append(Mistake("train_config.mixed_precision", what))
    sparse = message.train_config.sparse_optimizer
    name = sparse.WhichOneof("optimizer")
    path = f"train_config.sparse_optimizer.{name}"
    if name in SPARSE_ON_CUDA_ONLY:
        everywhere = [
            f for f in _members(sparse.DESCRIPTOR.fields_by_name[name]) if f not in SPARSE_ON_CUDA_ONLY
        ]
        usable = ", ".join(f for f in everywhere if f in BUILT["SparseOptimizer"])
        what = f"{name} is built on CUDA only, this run is on {device}; there take {usable}"
        mistakes.append(Mistake(path, what))
    # fbgemm's kernel for CPUs takes the two and drops them.
    if training and sparse.rowwise_adagrad_optimizer.weight_decay_mode:
        what = (
            f"weight_decay of {name} is built on CUDA only, this run is on {device}; "
            "leave weight_decay_mode at NONE"
        )
        mistakes.append(Mistake(f"{path}.weight_decay_mode", what))
    return mistakes


def _is_default(one: Set) -> bool:
    return (
        not one.field.is_repeated and one.field.message_type is None and one.value == one.field.default_value
    )


def _members(field: Field) -> list[str]:
    return [f.name for f in field.containing_oneof.fields] if field.containing_oneof else []


def _unknown_part(one: Set, table: dict[str, Only | None]) -> str:
    has = [name for name in _members(one.field) if name in table]
    if has:
        return f"{one.field.name} {_NOT_BUILT}; built {'is' if len(has) == 1 else 'are'} {', '.join(has)}"
    extra = (
        f"; leave it at its default {_shown(one.field, one.field.default_value)}" if _has_default(one) else ""
    )
    return f"{one.field.name} of {one.owner} {_NOT_BUILT}{extra}"


def _has_default(one: Set) -> bool:
    return bool(one.field.has_default_value)


def _beyond(one: Set, limit: Only) -> list[Mistake]:
    values = list(one.value) if one.field.is_repeated else [one.value]
    mistakes = []
    for i, value in enumerate(values):
        named = one.field.enum_type.values_by_number[value].name if one.field.enum_type else value
        if named not in limit.values:
            path = f"{one.path}[{i}]" if one.field.is_repeated else one.path
            usable = ", ".join(_shown(one.field, v) for v in limit.values)
            verb = "is" if len(limit.values) == 1 else "are"
            what = f"{one.field.name}: {_shown(one.field, named)} {_NOT_BUILT}; built {verb} {usable}"
            mistakes.append(Mistake(path, what))
    return mistakes


def _shown(field: Field, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if field.cpp_type == Field.CPPTYPE_STRING else str(value)
