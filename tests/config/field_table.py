"""Every field of the schema and what becomes of it, as a table.

    python -m tests.config.field_table        writes docs/fields.md

`test_fields.py` makes the same table anew and compares, so that the two cannot drift.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as Field

from tzrec.config.bind import is_map
from tzrec.config.supported import BUILT, missing_on, not_built, without_meaning
from tzrec.protos.data_pb2 import DatasetType
from tzrec.protos.pipeline_pb2 import EasyRecConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "fields.md"
HEAD = """# Fields

Every field of the schema: whether it works, or the message that refuses it. What is refused as a whole
stands once, where it is named; its own fields are not listed. A field that is set to its default asks for
nothing and is never refused. Written by `python -m tests.config.field_table`, which asks the program
about every row; a test does the same and compares. What features compute is in [features.md](features.md).
"""


def reachable() -> Iterator[tuple[Descriptor, tuple[Field, ...]]]:
    """(a message type, the fields that lead to it), each type once, nearest first."""
    waiting: list[tuple[Descriptor, tuple[Field, ...]]] = [(EasyRecConfig.DESCRIPTOR, ())]
    seen = set()
    while waiting:
        kind, way = waiting.pop(0)
        if kind.full_name in seen:
            continue
        seen.add(kind.full_name)
        yield kind, way
        for field in kind.fields:
            if field.message_type is not None and not is_map(field):
                waiting.append((field.message_type, (*way, field)))


def standing_at(way: tuple[Field, ...]) -> tuple[Any, Any]:
    """(an empty configuration, the message in it that the way leads to)."""
    message = EasyRecConfig()
    message.data_config.dataset_type = DatasetType.ParquetDataset
    inner = message
    for field in way:
        inner = getattr(inner, field.name).add() if field.is_repeated else getattr(inner, field.name)
        inner.SetInParent()
    return message, inner


def values_of(field: Field) -> list[Any]:
    """Values that are not the default."""
    if field.enum_type is not None:
        return [
            v.number for v in field.enum_type.values if field.is_repeated or v.number != field.default_value
        ]
    if field.cpp_type == Field.CPPTYPE_BOOL:
        return [not field.default_value]
    if field.cpp_type == Field.CPPTYPE_STRING:
        return ["something"]
    return [field.default_value + 1 if not field.is_repeated else 1]


def set_field(message: Any, field: Field, value: Any) -> None:
    if is_map(field):
        entry = field.message_type.fields_by_name["value"]
        getattr(message, field.name)["a"] = "a" if entry.cpp_type == Field.CPPTYPE_STRING else 2
    elif field.message_type is not None:
        target = getattr(message, field.name)
        (target.add() if field.is_repeated else target).SetInParent()
    elif field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def outcome(way: tuple[Field, ...], field: Field) -> str:
    """What becomes of a field: "works", what it is limited to, or the message that refuses it."""
    limit = BUILT.get(field.containing_type.name, {}).get(field.name)
    if limit is not None:
        return f"works: {', '.join(_shown(value) for value in limit.values)}"
    said = set()
    for value in values_of(field) if field.message_type is None else [None]:
        message, inner = standing_at(way)
        set_field(inner, field, value)
        refused = [
            one.what
            for one in not_built(message)
            if one.path.split("[")[0].endswith(field.name) or _last(one.path) == field.name
        ]
        noted = [one.what for one in without_meaning(message) if _last(one.path) == field.name]
        if refused or noted:
            said.add("refused: " + refused[0] if refused else "accepted: " + noted[0])
        else:
            elsewhere = any(_last(one.path) == field.name for one in missing_on(message, "cpu"))
            said.add("works on CUDA, refused on a CPU" if elsewhere else "works")
    return "; ".join(sorted(said))


def _last(path: str) -> str:
    return path.rpartition(".")[2].partition("[")[0]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def rows() -> list[tuple[str, str, str]]:
    """(message, field, outcome) of every field of a message that is not refused as a whole."""
    found = []
    for kind, way in reachable():
        message, _ = standing_at(way)
        if any(_last(one.path) == field.name for one in not_built(message) for field in way):
            continue
        found += [(kind.name, field.name, outcome(way, field)) for field in kind.fields]
    return found


def document() -> str:
    lines, last = [HEAD], ""
    for message, field, said in rows():
        if message != last:
            lines.append(f"\n## {message}\n\n| field | |\n|---|---|")
            last = message
        lines.append(f"| `{field}` | {said.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
