"""Paths of --edit_config_json: `a.b[2].c`, `a[:].b`, `a[sub.path>=3].b`, and what they reach."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor as Field

from tzrec.config.bind import fields_of, is_map, member_taken, unknown_field
from tzrec.config.scalars import convert
from tzrec.config.tree import Position, Scalar, shown
from tzrec.runtime.errors import nearest

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(>=|<=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_HOLDS = {
    "=": lambda a, b: a == b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
}


class EditError(ValueError):
    """One edit that cannot be done; the message starts behind the path."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a path: a field and, in brackets, which of its elements."""

    name: str
    selector: str | None

    def __str__(self) -> str:
        return self.name if self.selector is None else f"{self.name}[{self.selector}]"


class Target(NamedTuple):
    """A field of one message, or the element with this index, under its own path."""

    parent: Any
    field: Field
    element: int | None
    path: str


def split_outside(text: str, separator: str) -> list[str]:
    """Splits where `separator` stands outside of brackets, braces and quotes."""
    parts, depth, quote, escaped = [""], 0, "", False
    for character in text:
        if escaped or quote:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == separator and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]


def parse_path(text: str) -> list[Segment]:
    """The segments of one path.

    Raises:
        EditError: a segment that is no name with an optional selector.
    """
    segments = []
    for part in split_outside(text, "."):
        name = _NAME.match(part)
        rest = part[name.end() :].strip() if name else part
        selected = rest.startswith("[") and rest.endswith("]") and len(rest) > 2
        if not name or (rest and not selected):
            raise EditError(f"{shown(part)} is no field name, with [index], [a:b], [:] or [sub.path=value]")
        segments.append(Segment(name[0], rest[1:-1] if rest else None))
    return segments


def resolve(message: Any, segments: list[Segment]) -> list[Target]:
    """What a path reaches in `message`; singular messages that are unset on the way are created.

    Raises:
        EditError: which segment matches nothing, and what there is.
    """
    places: list[tuple[Any, str]] = [(message, "")]
    for segment in segments[:-1]:
        inner: list[tuple[Any, str]] = []
        for target in _targets(places, segment):
            if target.field.message_type is None or is_map(target.field):
                raise EditError(f"{target.path} is no block: it has no fields of its own")
            inner.append((_enter(target), target.path))
        places = inner
    return _targets(places, segments[-1])


def _targets(places: list[tuple[Any, str]], segment: Segment) -> list[Target]:
    targets = []
    for parent, path in places:
        owner = path or "the configuration"
        field = fields_of(parent.DESCRIPTOR).get(segment.name)
        if field is None:
            raise EditError(unknown_field(parent.DESCRIPTOR, owner, segment.name))
        where = f"{path}.{field.name}" if path else field.name
        if segment.selector is None:
            targets.append(Target(parent, field, None, where))
        elif not field.is_repeated or is_map(field):
            raise EditError(f"{where} is not repeated: leave out [{segment.selector}]")
        else:
            chosen = _select(field, getattr(parent, field.name), segment.selector, where)
            targets += [Target(parent, field, i, f"{where}[{i}]") for i in chosen]
    if not targets:
        raise EditError(f"{segment} matches nothing{_near_value(places, segment)}")
    return targets


def _near_value(places: list[tuple[Any, str]], segment: Segment) -> str:
    """The nearest text for a condition `sub.path=text` that holds nowhere."""
    condition = _CONDITION.fullmatch(segment.selector or "")
    if not condition or condition[2] != "=":
        return ""
    steps, present = condition[1].split("."), []
    for parent, _ in places:
        for element in getattr(parent, segment.name):
            for step in steps:
                element = getattr(element, step)
            present.append(str(element))
    return nearest(condition[3], present)


def _enter(target: Target) -> Any:
    value = getattr(target.parent, target.field.name)
    if target.element is not None:
        return value[target.element]
    if target.field.is_repeated:
        raise EditError(f"{target.path} is repeated: say which, such as {target.path}[0] or {target.path}[:]")
    taken = member_taken(target.parent, target.field)
    if taken:
        raise EditError(
            f"{target.path} is not set, {taken} is; choose elements by a condition, "
            f"or give the whole {target.field.name} in {{...}} to put it in the place of {taken}"
        )
    value.SetInParent()
    return value


def _select(field: Field, elements: Any, selector: str, where: str) -> list[int]:
    """The indices that a selector picks; none is for the caller to judge, over all parents together."""
    count = len(elements)
    if _NUMBER.fullmatch(selector.strip()):
        index = int(selector)
        if not -count <= index < count:
            raise EditError(f"{where} has {count} elements: [{index}] is out of range")
        return [index % count]
    bounds = [b.strip() for b in selector.split(":")]
    if len(bounds) == 2 and all(not b or _NUMBER.fullmatch(b) for b in bounds):
        return list(range(count))[slice(*(int(b) if b else None for b in bounds))]
    condition = _CONDITION.fullmatch(selector)
    if not condition:
        raise EditError(f"[{selector}] is no [index], [a:b], [:] or [sub.path=value] with = > < >= <=")
    if field.message_type is None:
        raise EditError(f"{where} holds plain values: choose by [index] or [a:b]")
    steps, operator, given = condition[1].split("."), condition[2], condition[3]
    leaf = _leaf(field, steps)
    wanted = _wanted(leaf, operator, given)
    return [i for i, e in enumerate(elements) if _holds(e, steps, operator, wanted)]


def _leaf(field: Field, steps: list[str]) -> Field:
    """The field at the end of a condition's path."""
    for step in steps:
        if field.message_type is None:
            raise EditError(f"the condition's {field.name} is no block: it has no {step}")
        inner = fields_of(field.message_type).get(step)
        if inner is None:
            raise EditError(unknown_field(field.message_type, field.name, step))
        if inner.is_repeated:
            raise EditError(f"the condition's {step} is repeated: a condition compares one value")
        field = inner
    if field.message_type is not None:
        names = list(fields_of(field.message_type))
        hint = nearest(steps[-1], names) or (f"; such as {names[0]}" if names else "")
        raise EditError(f"the condition's {field.name} is a block: compare a field of it{hint}")
    return field


def _wanted(leaf: Field, operator: str, given: str) -> Any:
    quoted = len(given) > 1 and given[0] in "\"'" and given[-1] == given[0]
    text = given[1:-1] if quoted else given
    is_text = leaf.cpp_type == Field.CPPTYPE_STRING
    ordered = not is_text and leaf.cpp_type not in (Field.CPPTYPE_ENUM, Field.CPPTYPE_BOOL)
    if operator != "=" and not ordered:
        raise EditError(f"the condition's {leaf.name} has no order: {operator} compares numbers only")
    kind = "text" if is_text else "word" if _NAME.fullmatch(text) else "number"
    try:
        return convert(leaf, Scalar(kind, text, Position(1, 1)), json=False)  # type: ignore[arg-type]
    except ValueError as error:
        raise EditError(f"the condition's {error}") from None


def _holds(element: Any, steps: list[str], operator: str, wanted: Any) -> bool:
    """Never true for an element that lacks a block on the way; an unset field has its default."""
    for step in steps[:-1]:
        if not element.HasField(step):
            return False
        element = getattr(element, step)
    return bool(_HOLDS[operator](_single(getattr(element, steps[-1])), _single(wanted)))


def _single(value: Any) -> Any:
    """0.1 as the field holds it and as it is written are the same number."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
