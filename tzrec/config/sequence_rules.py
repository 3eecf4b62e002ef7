"""Rules about features that are sequences."""

from typing import Any

from tzrec.config.feature_inputs import ONE_INPUT, given, inputs, is_sequence_input, reads_inputs
from tzrec.config.walk import Mistake
from tzrec.runtime.errors import nearest

_OF_SEQUENCES = ("sequence_length", "sequence_delim", "sequence_fields")


def sequences(message: Any) -> list[Mistake]:
    """What belongs to sequences stands where a sequence is."""
    mistakes = []
    for i, config in enumerate(message.feature_configs):
        kind = config.WhichOneof("feature")
        if kind is None:
            continue
        one, path = getattr(config, kind), f"feature_configs[{i}].{kind}"
        if kind == "sequence_feature":
            if not one.sequence_delim:
                mistakes.append(Mistake(f"{path}.sequence_delim", "sequence_delim must not be empty"))
            for j, inner in enumerate(one.features):
                part = inner.WhichOneof("feature")
                if part is not None:
                    inside = f"{path}.features[{j}].{part}"
                    mistakes += _in_a_group(message, getattr(inner, part), inside, one.sequence_name)
        elif kind.startswith("sequence_"):
            if not one.sequence_delim:
                mistakes.append(Mistake(f"{path}.sequence_delim", "sequence_delim must not be empty"))
            mistakes += _has_sequence(message, one, path, one.feature_name)
        elif not getattr(one, "tokens_as_sequence", False):
            for field in given(one, _OF_SEQUENCES):
                what = f"{field} is of sequences; name the feature sequence_{kind}, or leave it out"
                mistakes.append(Mistake(f"{path}.{field}", what))
    return mistakes


def _in_a_group(message: Any, feature: Any, path: str, group: str) -> list[Mistake]:
    mistakes = []
    for field in given(feature, _OF_SEQUENCES[:2]):
        what = f'{field} stands in sequence_feature "{group}" for all of its features; leave it out here'
        mistakes.append(Mistake(f"{path}.{field}", what))
    return mistakes + _has_sequence(message, feature, path, f"{group}__{feature.feature_name}")


def _has_sequence(message: Any, feature: Any, path: str, name: str) -> list[Mistake]:
    mistakes = []
    if getattr(feature, "tokens_as_sequence", False):
        what = f'"{name}" is a sequence already; tokens_as_sequence is for a text that is none'
        mistakes.append(Mistake(f"{path}.tokens_as_sequence", what))
    if reads_inputs(message) and not any(is_sequence_input(feature, one) for one in inputs(feature)):
        what = f'"{name}" has no input that is a sequence; name it in sequence_fields'
        if feature.DESCRIPTOR.name not in ONE_INPUT:
            what += ", or give it the side item:"
        mistakes.append(Mistake(path, what))
    named = [one.name for one in inputs(feature)] + [one.text for one in inputs(feature)]
    for i, field in enumerate(feature.sequence_fields):
        if field not in named:
            what = f'sequence_fields: "{name}" has no input "{field}"{nearest(field, named)}'
            mistakes.append(Mistake(f"{path}.sequence_fields[{i}]", what))
    return mistakes


RULES = (sequences,)
