"""From a path and flags to a configuration that can be used."""

import dataclasses
from collections.abc import Mapping

from tzrec.config.edit import FLAG, edit_all
from tzrec.config.load import Loaded, load_pipeline
from tzrec.config.tree import together
from tzrec.config.validate import problems_of

# Flag, without its dashes -> the field it sets.
OVERRIDES = {
    "train_input_path": "train_input_path",
    "eval_input_path": "eval_input_path",
    "model_dir": "model_dir",
    "fine_tune_checkpoint": "train_config.fine_tune_checkpoint",
}


def prepare(
    path: str,
    edits: str | None = None,
    overrides: Mapping[str, str | None] | None = None,
    for_training: bool = False,
) -> Loaded:
    """Loads a configuration, lets flags and then edits override it, and validates what comes of it.

    Args:
        path: the configuration file.
        edits: the value of --edit_config_json.
        overrides: the value of each flag of `OVERRIDES`, None where it is not given.
        for_training: also ask for what only training needs.

    Returns:
        The configuration as it is to be used; its `notes` are for rank 0 to print.

    Raises:
        UserError: everything that is wrong, a line each. A file that cannot be read as a configuration is
            reported first, without what flags and edits would have made of it.
        KeyError: an override that is none of `OVERRIDES`.
    """
    loaded = load_pipeline(path)
    changed = _override(loaded, overrides or {})
    problems: list[str] = []
    if edits:
        edited = edit_all(loaded.message, edits)
        problems += edited.problems
        changed.update(dict.fromkeys(edited.paths, FLAG))
    loaded = dataclasses.replace(loaded, changed=changed)
    wrong, notes = problems_of(loaded, for_training)
    if problems or wrong:
        raise together(path, problems + wrong)
    return dataclasses.replace(loaded, notes=tuple(notes))


def _override(loaded: Loaded, overrides: Mapping[str, str | None]) -> dict[str, str]:
    """Sets what the flags give; returns path -> flag."""
    changed = {}
    for flag, value in overrides.items():
        field_path = OVERRIDES[flag]
        if value is not None:
            *around, name = field_path.split(".")
            parent = loaded.message
            for step in around:
                parent = getattr(parent, step)
            setattr(parent, name, value)
            changed[field_path] = f"--{flag}"
    return changed
