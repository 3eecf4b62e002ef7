"""Rules about optimizers, learning rates and the scaling of the loss, across their fields."""

import re
from itertools import pairwise
from typing import Any

from tzrec.config.feature_inputs import is_embedded
from tzrec.config.walk import Mistake, all_set, features

# Schedule -> its field without which it has no length.
_LENGTHS = {
    "exponential_decay_learning_rate": "decay_size",
    "cosine_annealing_learning_rate": "T_max",
    "cosine_annealing_warm_restarts_learning_rate": "T_0",
}
# Sparse optimizers that keep one number for the mean of the squares of a row.
_OF_THE_MEAN = (
    "rowwise_adagrad_optimizer",
    "partial_rowwise_adam_optimizer",
    "partial_rowwise_lamb_optimizer",
)


def schedules(message: Any) -> list[Mistake]:
    """A schedule has a length."""
    mistakes = []
    for one in all_set(message.train_config, "train_config"):
        needed = _LENGTHS.get(one.field.name)
        if needed and not one.value.HasField(needed):
            what = f"{one.field.name} wants {needed}, greater than 0: steps, or passes with by_epoch: true"
            mistakes.append(Mistake(one.path, what))
    return mistakes


def nesterov(message: Any) -> list[Mistake]:
    """Nesterov's step looks ahead along a momentum, which nothing dampens."""
    mistakes = []
    for one in all_set(message.train_config, "train_config"):
        if one.field.name != "nesterov" or not one.value:
            continue
        optimizer = one.parent
        if optimizer.momentum == 0:
            what = "nesterov: true wants a momentum greater than 0, got 0"
            mistakes.append(Mistake(one.path, what))
        if optimizer.dampening != 0:
            what = f"nesterov: true wants dampening: 0, got {optimizer.dampening:g}"
            mistakes.append(Mistake(one.path, what))
    return mistakes


def part_optimizers(message: Any) -> list[Mistake]:
    """Each has an optimizer and a pattern that is a regular expression."""
    mistakes = []
    for i, part in enumerate(message.train_config.dense_optimizer.part_optimizers):
        path = f"train_config.dense_optimizer.part_optimizers[{i}]"
        if part.WhichOneof("optimizer") is None:
            what = "part_optimizers wants an optimizer, such as adam_optimizer { lr: 0.001 }"
            mistakes.append(Mistake(path, what))
        try:
            # An empty pattern would take everything, and leave the main optimizer without work.
            wrong = "" if re.compile(part.regex_pattern).pattern else "is empty"
        except re.error as error:
            wrong = str(error)
        if wrong:
            what = f'regex_pattern "{part.regex_pattern}" is no pattern of names: {wrong}'
            mistakes.append(Mistake(f"{path}.regex_pattern", what))
    return mistakes


def manual_steps(message: Any) -> list[Mistake]:
    """As many rates as places where they begin, which ascend."""
    mistakes = []
    for one in all_set(message.train_config, "train_config"):
        if one.field.name != "manual_step_learning_rate":
            continue
        sizes, rates = list(one.value.schedule_sizes), list(one.value.learning_rates)
        if len(sizes) != len(rates):
            what = f"{len(sizes)} schedule_sizes and {len(rates)} learning_rates; give one rate for each size"
            mistakes.append(Mistake(one.path, what))
        if not all(a < b for a, b in pairwise(sizes)):
            mistakes.append(Mistake(f"{one.path}.schedule_sizes", "schedule_sizes must ascend, none twice"))
    return mistakes


def loss_scaling(message: Any) -> list[Mistake]:
    """Scaling is for FP16; its scale grows by more than 1 and shrinks by less."""
    train = message.train_config
    if not train.HasField("grad_scaler"):
        return []
    mistakes = []
    if train.mixed_precision != "FP16":
        what = 'grad_scaler is for mixed_precision: "FP16"; leave it out here'
        mistakes.append(Mistake("train_config.grad_scaler", what))
    if not train.grad_scaler.growth_factor > 1:
        mistakes.append(
            Mistake("train_config.grad_scaler.growth_factor", "growth_factor must be greater than 1")
        )
    if not 0 < train.grad_scaler.backoff_factor < 1:
        what = "backoff_factor must be greater than 0 and less than 1"
        mistakes.append(Mistake("train_config.grad_scaler.backoff_factor", what))
    return mistakes


def row_means(message: Any) -> list[Mistake]:
    """Steps that divide by the width of a row want tables whose rows are not filled up."""
    kind = message.train_config.sparse_optimizer.WhichOneof("optimizer")
    if kind not in _OF_THE_MEAN:
        return []
    return [
        Mistake(
            f"{path}.embedding_dim",
            f"embedding_dim {feature.embedding_dim} is no multiple of 4, and the steps of {kind} follow from "
            "the mean of a whole row, which is filled up to one; take a multiple of 4, or adagrad_optimizer",
        )
        for path, feature, _ in features(message)
        if is_embedded(feature) and feature.embedding_dim % 4
    ]


RULES = (row_means, schedules, nesterov, part_optimizers, manual_steps, loss_scaling)
