"""--edit_config_json: values set by path, all of them or none."""

from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor as Field

from tzrec.config.bind import bind, is_map, is_null
from tzrec.config.edit_path import EditError, Target, parse_path, resolve, split_outside
from tzrec.config.json_text import read_json
from tzrec.config.scalars import found
from tzrec.config.text import read_text
from tzrec.config.tree import Block, Entry, Items, Position, Scalar, Value, shown, together
from tzrec.protos.pipeline_pb2 import EasyRecConfig

FLAG = "--edit_config_json"
_HERE = Position(1, 1)


class Edited(NamedTuple):
    """What came of a set of edits: what is wrong with them, and the paths that now have another value."""

    problems: list[str]
    paths: list[str]


def apply_edits(message: EasyRecConfig, edits_json: str) -> None:
    """Sets fields of `message` by path, in the order given; each edit sees what those before it did.

    Args:
        message: changed in place, or not at all when anything is wrong.
        edits_json: `{"path": value, ...}`; see docs/configuration.md for paths and values.

    Raises:
        UserError: everything that is wrong with the edits, a line each.
    """
    edited = type(message)()
    edited.CopyFrom(message)
    problems = edit_all(edited, edits_json).problems
    if problems:
        raise together(FLAG, problems)
    message.CopyFrom(edited)


def edit_all(message: EasyRecConfig, edits_json: str) -> Edited:
    """Does the edits that can be done, and says what is wrong with the others."""
    tree = read_json(edits_json)
    if tree.problems:
        at, what = tree.problems[0]
        example = '{"train_config.num_epochs": 2}'
        return Edited([f"{FLAG}: not a JSON object such as {example}: column {at.column}: {what}"], [])
    problems: list[str] = []
    paths: list[str] = []
    seen: set[str] = set()
    for entry in tree.root.entries:
        try:
            for path, value in _pairs(entry):
                if path in seen:
                    raise EditError("given twice")
                seen.add(path)
                paths += _edit(message, path, value, problems)
        except EditError as error:
            problems.append(f'{FLAG}: "{entry.name}": {error}')
    return Edited(problems, paths)


def _pairs(entry: Entry) -> list[tuple[str, Value]]:
    """`a;b` with "1;2" as two edits."""
    paths = split_outside(entry.name, ";")
    if len(paths) == 1:
        return [(paths[0], entry.value)]
    wanted = f"{len(paths)} paths want as many values in one text, joined by ;"
    if not (isinstance(entry.value, Scalar) and entry.value.kind == "text"):
        raise EditError(wanted)
    values = split_outside(entry.value.text, ";")
    if len(values) != len(paths):
        raise EditError(f"{wanted}, got {len(values)} in {shown(entry.value.text)}")
    return [(path, Scalar("text", value, entry.value.at)) for path, value in zip(paths, values, strict=True)]


def _edit(message: Any, path: str, value: Value, problems: list[str]) -> list[str]:
    """One path, one value; returns the paths of what was set."""
    done = []
    try:
        for target in resolve(message, parse_path(path)):
            if is_null(value):
                _clear(target)
            else:
                _assign(target, _bound(target, value))
            done.append(target.path)
    except EditError as error:
        problems.append(f'{FLAG}: "{path}": {error}')
    return done


def _clear(target: Target) -> None:
    if target.element is not None:
        raise EditError("null clears a whole field, not an element of it")
    target.parent.ClearField(target.field.name)


def _bound(target: Target, value: Value) -> Any:
    """A message like the parent that holds nothing but the new value."""
    whole = target.field.is_repeated and target.element is None
    scratch = type(target.parent)()
    problems = []
    for piece, json in _pieces(target.field, value, whole):
        part = type(target.parent)()
        wrapped = (
            Items([piece], _HERE) if json and target.field.is_repeated and not is_map(target.field) else piece
        )
        block = Block([Entry(target.field.name, wrapped, _HERE)], _HERE)
        problems += bind(part, block, json).problems
        scratch.MergeFrom(part)
    if problems:
        raise EditError("; ".join(problem.what for problem in problems))
    return scratch


def _pieces(field: Field, value: Value, whole: bool) -> list[tuple[Value, bool]]:
    """The value, or the elements of a list, each with True for JSON and False for text format.

    A text for a field that holds no texts is read as text format: numbers, enum names, `{...}`, `[...]`.
    """
    if whole and not is_map(field):
        values, json = _list(field, value)
        return [
            piece
            for item in values
            for piece in ([(item, False)] if not json else _pieces(field, item, False))
        ]
    is_text = isinstance(value, Scalar) and value.kind == "text"
    if not is_text or field.cpp_type == Field.CPPTYPE_STRING or is_map(field):
        return [(value, True)]
    assert isinstance(value, Scalar)
    return [(_text_value(field, value.text), False)]


def _list(field: Field, value: Value) -> tuple[list[Value], bool]:
    if isinstance(value, Items):
        return value.values, True
    if isinstance(value, Scalar) and value.kind == "text" and value.text.lstrip().startswith("["):
        parsed = _text_value(field, value.text)
        if isinstance(parsed, Items):
            return parsed.values, False
    got = found(value) if isinstance(value, Block) else value.text
    if isinstance(value, Scalar) and field.cpp_type == Field.CPPTYPE_STRING:
        got = shown(got)
    raise EditError(
        f"{field.name} is repeated: give a list such as [{got}], or choose one as {field.name}[0]"
    )


def _text_value(field: Field, text: str) -> Value:
    tree = read_text(f"{field.name}: {text}\n")
    if tree.problems:
        raise EditError("; ".join(problem.what for problem in tree.problems))
    if len(tree.root.entries) != 1:
        raise EditError(f"{field.name} wants one value, got {shown(text)}")
    return tree.root.entries[0].value


def _assign(target: Target, scratch: Any) -> None:
    parent, name = target.parent, target.field.name
    value = getattr(scratch, name)
    if target.field.is_repeated and target.element is None:
        parent.ClearField(name)
        parent.MergeFrom(scratch)
    elif target.element is not None and target.field.message_type is None:
        getattr(parent, name)[target.element] = value[0]
    elif target.element is not None:
        getattr(parent, name)[target.element].CopyFrom(value[0])
    elif target.field.message_type is None:
        setattr(parent, name, value)
    else:
        getattr(parent, name).CopyFrom(value)
        getattr(parent, name).SetInParent()
