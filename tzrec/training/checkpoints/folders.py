"""The folders of checkpoints in a model_dir, by their names."""

import re
from pathlib import Path

NAME = re.compile(r"model\.ckpt-(\d+)")
SAVING = ".saving"
REMOVING = ".removing"


def steps_in(model_dir: str | Path) -> list[int]:
    """The steps of all checkpoints, ascending; damaged ones are among them."""
    folder = Path(model_dir)
    if not folder.is_dir():
        return []
    names = (NAME.fullmatch(entry.name) for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(match[1]) for match in names if match and match[1] == str(int(match[1])))


def path_of(model_dir: str | Path, step: int) -> Path:
    return Path(model_dir) / f"model.ckpt-{step}"
