"""The configuration as a whole, before any data is opened."""

from typing import Any

from tzrec.config.bind import is_map
from tzrec.config.load import Loaded
from tzrec.config.rules import RULES, training_needs
from tzrec.config.supported import not_built, without_meaning
from tzrec.config.table_rules import padded_tables, without_a_table
from tzrec.config.tree import together
from tzrec.config.walk import Mistake, all_set
from tzrec.protos.data_pb2 import FgMode

_BLOCKS = ("data_config", "model_config")


def validate(loaded: Loaded, for_training: bool = False) -> list[str]:
    """Checks all that can be checked without data, and turns `fg_encoded` into `fg_mode`.

    Args:
        loaded: its message is changed only by the old spelling `fg_encoded`.
        for_training: also ask for what only training needs.

    Returns:
        Lines for the user about things that were accepted but deserve a word.

    Raises:
        UserError: everything that is wrong, a line each.
    """
    problems, notes = problems_of(loaded, for_training)
    if problems:
        raise together(loaded.path, problems)
    return notes


def problems_of(loaded: Loaded, for_training: bool) -> tuple[list[str], list[str]]:
    """(what is wrong, notes); see `validate`."""
    message = loaded.message
    mistakes, notes = _fg_mode(message)
    mistakes += missing_fields(message) + _missing_blocks(message)
    for rule in RULES:
        mistakes += rule(message)
    if for_training:
        mistakes += training_needs(message)
    mistakes += not_built(message)
    notes += without_meaning(message) + without_a_table(message) + padded_tables(message)
    return _placed(loaded, mistakes), _placed(loaded, notes)


def check_required(loaded: Loaded) -> None:
    """Whether every required field is there, whether from the file, a flag or an edit.

    Raises:
        UserError: each one that is missing, placed at the block it is missing in.
    """
    problems = _placed(loaded, missing_fields(loaded.message))
    if problems:
        raise together(loaded.path, problems)


def missing_fields(message: Any) -> list[Mistake]:
    """The required fields that are not set.

    By hand, because protobuf's own FindInitializationErrors (upb 7.36) crashes the process where a message
    with a filled map comes behind the first element of a repeated field and lacks something.
    """
    mistakes = _lacking(message, "", "the configuration")
    for one in all_set(message):
        if one.field.message_type is not None and not is_map(one.field):
            mistakes += _lacking(one.value, one.path, one.field.name)
    return mistakes


def _lacking(message: Any, path: str, owner: str) -> list[Mistake]:
    flag = "" if path else "; give it there or by --"
    return [
        Mistake(path, f'{owner} lacks the required field "{f.name}"{flag and flag + f.name}')
        for f in message.DESCRIPTOR.fields
        if f.is_required and not message.HasField(f.name)
    ]


def _missing_blocks(message: Any) -> list[Mistake]:
    mistakes = [Mistake("", f"the configuration lacks {n}") for n in _BLOCKS if not message.HasField(n)]
    if not message.feature_configs:
        mistakes.append(Mistake("", "the configuration lacks feature_configs"))
    if message.HasField("model_config") and message.model_config.WhichOneof("model") is None:
        mistakes.append(Mistake("model_config", "model_config names no model, such as dssm { ... }"))
    return mistakes


def _fg_mode(message: Any) -> tuple[list[Mistake], list[Mistake]]:
    """fg_encoded, the old spelling, becomes fg_mode: (mistakes, notes)."""
    data = message.data_config
    if not message.HasField("data_config") or not data.HasField("fg_encoded"):
        return [], []
    path = "data_config.fg_encoded"
    old = FgMode.FG_NONE if data.fg_encoded else FgMode.FG_DAG if data.fg_threads else FgMode.FG_NORMAL
    if data.HasField("fg_mode"):
        if (data.fg_mode == FgMode.FG_NONE) != data.fg_encoded:
            said, new = str(data.fg_encoded).lower(), FgMode.Name(data.fg_mode)
            what = f"fg_encoded: {said} contradicts fg_mode: {new}; leave out fg_encoded, the old spelling"
            return [Mistake(path, what)], []
        old = data.fg_mode
    note = f"fg_encoded is deprecated; write fg_mode: {FgMode.Name(old)}"
    data.ClearField("fg_encoded")
    data.fg_mode = old
    return [], [Mistake(path, note)]


# A text of the configuration may hold line breaks; a mistake is one line.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def _placed(loaded: Loaded, mistakes: list[Mistake]) -> list[str]:
    """A line for each mistake, none twice, in the order of the file."""
    lines = {f"{loaded.where(m.path)}: {m.what.translate(_VISIBLE)}": loaded.order(m.path) for m in mistakes}
    return sorted(lines, key=lambda line: lines[line])
