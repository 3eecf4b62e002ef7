"""A tree held against the schema: values go into a message, mistakes and places are collected."""

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as Field

from tzrec.config.scalars import convert, found
from tzrec.config.tree import Block, Entry, Items, Position, Problem, Scalar, Value, shown
from tzrec.runtime.errors import nearest

# Fields that configurations of the other model families use, so that their absence is explained.
_OTHER_FAMILIES = {
    "ModelConfig": frozenset(
        {
            "wide_and_deep",
            "deepfm",
            "multi_tower",
            "dlrm",
            "masknet",
            "dcn_v1",
            "dcn_v2",
            "xdeepfm",
            "wukong",
            "multi_tower_din",
            "mmoe",
            "dbmtl",
            "ple",
            "dc2vr",
            "pepnet",
            "dlrm_hstu",
            "ultra_hstu",
            "tdm",
            "rocket_launching",
        }
    ),
    "DataConfig": frozenset({"tdm_sampler"}),
}


# The message types around a block, outermost first.
_Above = tuple[Descriptor, ...]


@dataclass
class Bound:
    """What binding found out.

    Attributes:
        positions: dotted path of a field or element -> where its name stands.
        problems: what is wrong.
    """

    positions: dict[str, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def bind(
    message: Any, root: Block, json: bool, balanced: bool = True, owner: str = "the configuration"
) -> Bound:
    """Sets in `message` what `root` says, leaving out what is wrong.

    Args:
        message: a message of which nothing is set yet.
        root: entries by name.
        json: by the rules of protobuf's JSON mapping; otherwise by those of text format.
        balanced: False when entries may stand at the wrong depth: only the first unknown field of a
            block is then reported.
        owner: what to call `message` in a problem.
    """
    bound = Bound()
    _Binder(json, balanced, bound).block(message, root, "", owner, ())
    return bound


def fields_of(descriptor: Descriptor) -> dict[str, Field]:
    """The fields of a message type by name."""
    return {f.name: f for f in descriptor.fields}


def is_map(field_: Field) -> bool:
    """True for `map<...>`."""
    return field_.message_type is not None and bool(field_.message_type.GetOptions().map_entry)


def is_null(value: Value) -> bool:
    """True for JSON's null."""
    return isinstance(value, Scalar) and value.kind == "word" and value.text == "null"


def member_taken(message: Any, field_: Field) -> str | None:
    """The other member of the field's oneof that is set, if there is one."""
    if field_.containing_oneof is None:
        return None
    member = message.WhichOneof(field_.containing_oneof.name)
    return member if member != field_.name else None


def unknown_field(descriptor: Descriptor, owner: str, name: str) -> str:
    """The message for a field that is not there, with the nearest one or the families there are."""
    says = f"{owner} has no field {shown(name)}"
    if name in _OTHER_FAMILIES.get(descriptor.name, ()):
        families = ", ".join(f.name for f in _model_fields(descriptor.file.pool))
        return f"{says}; models of other families than recall are not part of this pipeline: {families}"
    names = [f.name for f in descriptor.fields]
    return says + (nearest(name, names) or (f"; it has: {', '.join(names)}" if 0 < len(names) <= 12 else ""))


def _model_fields(pool: Any) -> list[Field]:
    model = pool.FindMessageTypeByName("tzrec.protos.ModelConfig")
    return list(model.oneofs_by_name["model"].fields)


@dataclass
class _Binder:
    json: bool
    balanced: bool
    bound: Bound

    def wrong(self, at: Position, what: str) -> None:
        self.bound.problems.append(Problem(at, what))

    def block(self, message: Any, block: Block, path: str, owner: str, above: _Above) -> None:
        """Binds the entries of one block."""
        known = fields_of(message.DESCRIPTOR)
        if self.json:
            known |= {f.json_name: f for f in message.DESCRIPTOR.fields}
        seen: dict[str, Position] = {}
        lost = False
        for entry in block.entries:
            field_ = known.get(entry.name)
            if field_ is None:
                if self.balanced or not lost:
                    self.wrong(entry.at, self._unknown(message.DESCRIPTOR, owner, entry.name, above))
                lost = True
                continue
            if (
                self.json
                and isinstance(entry.value, Scalar)
                and (entry.value.kind, entry.value.text) == ("word", "null")
            ):
                continue  # JSON's way to leave a field unset.
            if self._is_new(field_, entry, seen):
                where = f"{path}.{field_.name}" if path else field_.name
                self.bound.positions.setdefault(where, entry.at)
                self._field(message, field_, entry, where, (*above, message.DESCRIPTOR))

    def _unknown(self, descriptor: Descriptor, owner: str, name: str, above: _Above) -> str:
        if any(name in fields_of(ancestor) for ancestor in above):
            return f"{owner} has no field {shown(name)}, but a block around it has; is a }} missing above?"
        return unknown_field(descriptor, owner, name)

    def _is_new(self, field_: Field, entry: Entry, seen: dict[str, Position]) -> bool:
        """False, and a problem, for a second value where there is room for one."""
        first = seen.get(field_.name)
        seen.setdefault(field_.name, entry.at)
        if first is not None and (self.json or not field_.is_repeated):
            self.wrong(entry.at, f"{field_.name} is given twice, first in line {first.line}")
            return False
        oneof = field_.containing_oneof
        for other in oneof.fields if oneof else ():
            if other.name != field_.name and other.name in seen:
                line = seen[other.name].line
                self.wrong(
                    entry.at, f"{field_.name} excludes {other.name} of line {line}: give one {oneof.name}"
                )
                return False
        return True

    def _field(self, message: Any, field_: Field, entry: Entry, where: str, above: _Above) -> None:
        value = entry.value
        if is_map(field_):
            self._map(getattr(message, field_.name), field_, value)
        elif not field_.is_repeated:
            self._one(message, field_, value, where, above)
        elif isinstance(value, Items):
            for item in value.values:
                self._element(message, field_, item, item.at, where, above)
        elif self.json:
            self.wrong(value.at, f"{field_.name} wants a list in [ ], got {found(value)}")
        else:
            self._element(message, field_, value, entry.at, where, above)

    def _one(self, message: Any, field_: Field, value: Value, where: str, above: _Above) -> None:
        if field_.message_type is None:
            try:
                setattr(message, field_.name, convert(field_, value, self.json))
            except ValueError as error:
                self.wrong(value.at, str(error))
        elif isinstance(value, Block):
            child = getattr(message, field_.name)
            child.SetInParent()
            self.block(child, value, where, field_.name, above)
        else:
            self.wrong(value.at, f"{field_.name} wants a block in {{ }}, got {found(value)}")

    def _element(
        self,
        message: Any,
        field_: Field,
        value: Value,
        at: Position,
        where: str,
        above: _Above,
    ) -> None:
        elements = getattr(message, field_.name)
        where = f"{where}[{len(elements)}]"
        self.bound.positions[where] = at
        if field_.message_type is None:
            try:
                elements.append(convert(field_, value, self.json))
            except ValueError as error:
                self.wrong(value.at, str(error))
        elif isinstance(value, Block):
            self.block(elements.add(), value, where, field_.name, above)
        else:
            self.wrong(value.at, f"{field_.name} wants a block in {{ }}, got {found(value)}")

    def _map(self, target: Any, field_: Field, value: Value) -> None:
        """Maps of the schema go from text to numbers."""
        if self.json:
            if isinstance(value, Block):
                for e in value.entries:
                    self._pair(target, field_, Scalar("text", e.name, e.at), e.value, e.at)
            else:
                self.wrong(value.at, f"{field_.name} wants an object in {{ }}, got {found(value)}")
            return
        for item in value.values if isinstance(value, Items) else [value]:
            if isinstance(item, Block):
                self._text_pair(target, field_, item)
            else:
                self.wrong(item.at, f"{field_.name} wants {{ key: ... value: ... }}, got {found(item)}")

    def _text_pair(self, target: Any, field_: Field, item: Block) -> None:
        given: dict[str, Value] = {}
        for entry in item.entries:
            if entry.name not in ("key", "value"):
                self.wrong(entry.at, f"an entry of {field_.name} has key and value, no {shown(entry.name)}")
            elif entry.name in given:
                self.wrong(entry.at, f"an entry of {field_.name} has its {entry.name} twice")
            given[entry.name] = entry.value
        key = given.get("key", Scalar("text", "", item.at))
        self._pair(target, field_, key, given.get("value", Scalar("number", "0", item.at)), item.at)

    def _pair(self, target: Any, field_: Field, key: Value, value: Value, at: Position) -> None:
        types = field_.message_type.fields_by_name
        try:
            name = convert(types["key"], key, self.json)
            number = convert(types["value"], value, self.json)
        except ValueError as error:
            self.wrong(at, f"an entry of {field_.name}: {error}")
            return
        if name in target:
            self.wrong(at, f"{field_.name} has the key {shown(name)} twice")
        target[name] = number
