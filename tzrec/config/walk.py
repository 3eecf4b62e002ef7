"""What a configuration sets, by path; the rules of validation are written on top of this."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor as Field

from tzrec.config.bind import is_map


class Mistake(NamedTuple):
    """Something a rule refuses: the path it is about, and what to say."""

    path: str
    what: str


class Set(NamedTuple):
    """A field that is set in `parent`; for a repeated one of blocks, each element comes by itself."""

    path: str
    parent: Any
    field: Field
    value: Any

    @property
    def owner(self) -> str:
        """The name of the block the field stands in."""
        around = self.path.rpartition(".")[0]
        return around.rpartition(".")[2].partition("[")[0] or "the configuration"


def all_set(message: Any, path: str = "") -> Iterator[Set]:
    """Every set field below `message`, outer before inner, in the order of the schema."""
    for field, value in message.ListFields():
        where = f"{path}.{field.name}" if path else field.name
        if field.message_type is None or is_map(field):
            yield Set(where, message, field, value)
        elif not field.is_repeated:
            yield Set(where, message, field, value)
            yield from all_set(value, where)
        else:
            for i, element in enumerate(value):
                yield Set(f"{where}[{i}]", message, field, element)
                yield from all_set(element, f"{where}[{i}]")


def features(message: Any) -> Iterator[tuple[str, Any, str]]:
    """(path, the feature's own message, its full name), those of a sequence_feature included."""
    for i, config in enumerate(message.feature_configs):
        kind = config.WhichOneof("feature")
        if kind is None:
            continue
        feature, path = getattr(config, kind), f"feature_configs[{i}].{kind}"
        if kind != "sequence_feature":
            yield path, feature, feature.feature_name
            continue
        for j, inner in enumerate(feature.features):
            part = inner.WhichOneof("feature")
            if part is not None:
                one = getattr(inner, part)
                yield f"{path}.features[{j}].{part}", one, f"{feature.sequence_name}__{one.feature_name}"
