"""Rules about single values: numbers and words that no run could use."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from tzrec.config.walk import Mistake, Set, all_set
from tzrec.runtime.errors import nearest


class Range(NamedTuple):
    """What a number must be, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


_POSITIVE = Range("greater than 0", lambda v: v > 0)
_NOT_NEGATIVE = Range("0 or more", lambda v: v >= 0)
_BELOW_1 = Range("at least 0 and less than 1", lambda v: 0 <= v < 1)
_SHARE = Range("from 0 to 1", lambda v: 0 <= v <= 1)

_POSITIVE_FIELDS = (
    "batch_size eval_batch_size embedding_dim hash_bucket_size num_buckets zch_size max_capacity num_sample "
    "num_hard_sample top_k temperature hidden_units log_step_count_steps decay_size T_max T_0 T_mult "
    "max_gradient norm_type init_scale growth_interval num_channels "
    # A gradient of 0, as behind a ReLU, would be divided by 0.
    "eps"
)
_NOT_NEGATIVE_FIELDS = (
    "lr learning_rates min_learning_rate warmup_learning_rate decay_factor weight_decay momentum "
    "initial_accumulator_value regularization_lambda"
)
_BELOW_1_FIELDS = "beta1 beta2 decay label_smoothing dropout_ratio dropout"
_SHARE_FIELDS = "rho alpha keep_prob"
# Field, in whatever message it stands -> its range.
RANGES: dict[str, Range] = {
    **dict.fromkeys(_POSITIVE_FIELDS.split(), _POSITIVE),
    **dict.fromkeys(_NOT_NEGATIVE_FIELDS.split(), _NOT_NEGATIVE),
    **dict.fromkeys(_BELOW_1_FIELDS.split(), _BELOW_1),
    **dict.fromkeys(_SHARE_FIELDS.split(), _SHARE),
    "output_dim": Range("0 (no last layer) or more", lambda v: v >= 0),
}
_WORDS = {
    "pooling": ("sum", "mean"),
    "exporter_type": ("latest", "best"),
    "clipping_type": ("none", "norm", "value"),
    "mixed_precision": ("", "BF16", "FP16"),
}

# Ends of the names of fields that say where something is.
_PATHS = ("_path", "_dir", "_file", "_checkpoint", "_param_map")


def numbers(message: Any) -> list[Mistake]:
    """Each number is in the range of its field, and finite."""
    mistakes = []
    for one in all_set(message):
        name, allowed = one.field.name, RANGES.get(one.field.name)
        if one.field.message_type is not None:
            continue
        if wrong := [v for v in _values(one) if isinstance(v, float) and not math.isfinite(v)]:
            mistakes.append(Mistake(one.path, f"{name} must be finite, got {wrong[0]:g}"))
        elif allowed and (wrong := [v for v in _values(one) if not allowed.holds(v)]):
            mistakes.append(Mistake(one.path, f"{name} must be {allowed.words}, got {wrong[0]:g}"))
    return mistakes


def words(message: Any) -> list[Mistake]:
    """Words that are not known."""
    mistakes = []
    for one in all_set(message):
        name = one.field.name
        allowed = _WORDS.get(name, ())
        if allowed and one.value not in allowed:
            listed = ", ".join(f'"{word}"' for word in allowed)
            what = f'{name} is one of {listed}, got "{one.value}"{nearest(one.value, allowed)}'
            mistakes.append(Mistake(one.path, what))
        if name == "boundaries" and not all(a < b for a, b in pairwise(one.value)):
            mistakes.append(Mistake(one.path, "boundaries must ascend, none of them twice"))
    return mistakes


def paths(message: Any) -> list[Mistake]:
    """Text that no file system takes for a path."""
    return [
        Mistake(one.path, f"{one.field.name} holds a zero byte, which no path can; give a path")
        for one in all_set(message)
        if one.field.name.endswith(_PATHS) and isinstance(one.value, str) and "\0" in one.value
    ]


def _values(one: Set) -> list[Any]:
    return list(one.value) if one.field.is_repeated else [one.value]


RULES = (numbers, words, paths)
