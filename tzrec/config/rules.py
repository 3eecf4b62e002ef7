"""Rules across fields that need no data: each takes the configuration and returns its mistakes."""

from collections.abc import Callable
from typing import Any

from tzrec.config import (
    default_rules,
    feature_rules,
    group_rules,
    input_fields,
    optimizer_rules,
    range_rules,
    sequence_rules,
    sharding_rules,
    table_rules,
    tower_rules,
)
from tzrec.config.walk import Mistake, all_set, features
from tzrec.runtime.errors import nearest

# Fields that name a feature group.
_INPUTS = {
    "Tower": ("input",),
    "DATTower": ("input", "augment_input"),
    "HSTUUserTower": ("input",),
    "MINDUserTower": ("input", "history_input"),
}


def feature_groups(message: Any) -> list[Mistake]:
    """Groups name features that exist; towers name groups that exist."""
    known = {name for _, _, name in features(message)}
    mistakes = []
    groups: set[str] = set()
    for i, group in enumerate(message.model_config.feature_groups):
        path = f"model_config.feature_groups[{i}]"
        if group.group_name in groups:
            mistakes.append(Mistake(f"{path}.group_name", f'two groups are named "{group.group_name}"'))
        groups.add(group.group_name)
        mistakes += _members(group.feature_names, path, group.group_name, known)
        for j, inner in enumerate(group.sequence_groups):
            mistakes += _members(inner.feature_names, f"{path}.sequence_groups[{j}]", inner.group_name, known)
        if not group.feature_names and not group.sequence_groups:
            mistakes.append(Mistake(path, f'group "{group.group_name}" names no features'))
    for one in all_set(message.model_config, "model_config"):
        if one.field.name in _INPUTS.get(one.parent.DESCRIPTOR.name, ()) and one.value not in groups:
            what = f'{one.owner} reads the feature group "{one.value}", which is not there'
            hint = nearest(one.value, groups) or f"; there are: {', '.join(sorted(groups)) or 'none'}"
            mistakes.append(Mistake(one.path, what + hint))
    return mistakes


def _members(names: Any, path: str, group: str, known: set[str]) -> list[Mistake]:
    mistakes, seen = [], set()
    for i, name in enumerate(names):
        where = f"{path}.feature_names[{i}]"
        if name not in known:
            what = f'group "{group}" names the feature "{name}", which is not there{nearest(name, known)}'
            mistakes.append(Mistake(where, what))
        elif name in seen:
            mistakes.append(Mistake(where, f'group "{group}" names the feature "{name}" twice'))
        seen.add(name)
    return mistakes


def best_checkpoint(message: Any) -> list[Mistake]:
    """`best` needs a metric that evaluation computes."""
    export = message.export_config
    top_ks = [m.recall_at_k.top_k for m in message.model_config.metrics if m.HasField("recall_at_k")]
    computed = [f"{name}@{k}" for name in ("recall", "ndcg") for k in top_ks] + ["mrr", "loss"]
    if export.exporter_type != "best" or export.best_exporter_metric in computed:
        return []
    what = f'best_exporter_metric "{export.best_exporter_metric}" is not evaluated'
    hint = nearest(export.best_exporter_metric, computed) or f"; the metrics are: {', '.join(computed)}"
    return [Mistake("export_config.best_exporter_metric", what + hint)]


def length_of_training(message: Any) -> list[Mistake]:
    """num_steps and num_epochs exclude each other; 0 is as good as not given."""
    train = message.train_config
    if train.num_steps and train.num_epochs:
        what = (
            "num_steps and num_epochs exclude each other; leave one out, or clear it by "
            "--edit_config_json '{\"train_config.num_epochs\": null}'"
        )
        return [Mistake("train_config.num_steps", what)]
    return []


def negatives(message: Any) -> list[Mistake]:
    """Options of in-batch negatives that need more than they are given."""
    data, model = message.data_config, message.model_config.dssm
    kind = data.WhichOneof("sampler")
    of_sampler = getattr(data, kind).item_id_field if kind else ""
    mistakes = []
    if model.mask_accidental_hits and not model.in_batch_negative:
        what = "mask_accidental_hits is for in_batch_negative: true; for sampled negatives see exclusion"
        mistakes.append(Mistake("model_config.dssm.mask_accidental_hits", what))
    for name in ("mask_accidental_hits", "logq_correction"):
        if getattr(model, name) and not kind and not data.item_id_field:
            what = f"{name} wants the column with the item's id: set data_config.item_id_field"
            mistakes.append(Mistake(f"model_config.dssm.{name}", what))
    if kind and data.item_id_field and data.item_id_field != of_sampler:
        what = f'item_id_field is "{data.item_id_field}", that of {kind} is "{of_sampler}"; leave it out here'
        mistakes.append(Mistake("data_config.item_id_field", what))
    return mistakes


def fine_tuning(message: Any) -> list[Mistake]:
    """A map of names belongs to a checkpoint."""
    train = message.train_config
    if train.fine_tune_ckpt_param_map and not train.fine_tune_checkpoint:
        what = "fine_tune_ckpt_param_map maps the names of a fine_tune_checkpoint, and none is given"
        return [Mistake("train_config.fine_tune_ckpt_param_map", what)]
    return []


def losses(message: Any) -> list[Mistake]:
    """One loss: the model has one label."""
    count = len(message.model_config.losses)
    if count < 2:
        return []
    return [Mistake("model_config.losses[1]", f"{count} losses; this model has one label, give one loss")]


def delimiters(message: Any) -> list[Mistake]:
    """What stands between the fields of a line of a table of negatives or edges is one character."""
    data = message.data_config
    kind = data.WhichOneof("sampler")
    given = getattr(data, kind).field_delimiter if kind else ""
    if not given or (len(given.encode()) == 1 and given not in '\r\n"'):
        return []
    what = f'field_delimiter "{given}" is not one ASCII character that can stand within a line'
    return [Mistake(f"data_config.{kind}.field_delimiter", what)]


def shuffling(message: Any) -> list[Mistake]:
    """Rows are mixed in a buffer, which must hold some."""
    data = message.data_config
    if not data.shuffle or data.shuffle_buffer_size:
        return []
    what = "shuffle: true mixes rows in a buffer of shuffle_buffer_size batches, which must be greater than 0"
    return [Mistake("data_config.shuffle_buffer_size", what + ", got 0; or set shuffle: false")]


def moving_average(message: Any) -> list[Mistake]:
    """Who asks for the average of the dense parameters must have it made."""
    if message.train_config.dense_optimizer.HasField("ema"):
        return []
    what = "use_dense_ema wants an average: give train_config.dense_optimizer an ema { decay: 0.999 }"
    asking = [name for name in ("eval_config", "export_config") if getattr(message, name).use_dense_ema]
    return [Mistake(f"{name}.use_dense_ema", what) for name in asking]


RULES: tuple[Callable[[Any], list[Mistake]], ...] = (
    length_of_training,
    fine_tuning,
    *range_rules.RULES,
    *optimizer_rules.RULES,
    *tower_rules.RULES,
    *feature_rules.RULES,
    *table_rules.RULES,
    *sequence_rules.RULES,
    feature_groups,
    *group_rules.RULES,
    *sharding_rules.RULES,
    *input_fields.RULES,
    *default_rules.RULES,
    best_checkpoint,
    negatives,
    losses,
    delimiters,
    moving_average,
    shuffling,
)


def training_needs(message: Any) -> list[Mistake]:
    """What only training needs."""
    mistakes = []
    train, model = message.train_config, message.model_config
    if not message.HasField("train_config"):
        mistakes.append(Mistake("", "training wants a train_config"))
    elif not train.num_steps and not train.num_epochs:
        mistakes.append(Mistake("train_config", "training wants num_steps or num_epochs, greater than 0"))
    for name in ("sparse_optimizer", "dense_optimizer"):
        if train.HasField(name) and getattr(train, name).WhichOneof("optimizer") is None:
            what = f"{name} wants an optimizer, such as adagrad_optimizer {{ lr: 0.001 }}"
            mistakes.append(Mistake(f"train_config.{name}", what))
    if message.HasField("model_config") and not model.losses:
        mistakes.append(
            Mistake("model_config", "training wants losses, such as losses { softmax_cross_entropy {} }")
        )
    sampled = message.data_config.WhichOneof("sampler") is not None
    if model.HasField("dssm") and not model.dssm.in_batch_negative and not sampled:
        what = "dssm has no negatives: give data_config a negative_sampler, or dssm in_batch_negative: true"
        mistakes.append(Mistake("model_config.dssm", what))
    return mistakes
