"""Folders of derived arrays in the cache: built once a host, whole or absent, mapped by every process."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from tzrec.runtime.errors import UserError

UNFINISHED = ".unfinished"


def digest(kind: str, recipe: Any) -> str:
    """A name for what is made from a recipe: another recipe, another name."""
    return f"{kind}-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]}"


def built_once(cache: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made by `build` when it is not there.

    One process builds, the others wait for it. `build` fills a folder of another name, which gets its
    own by one rename, so that what a killed process leaves is never taken for whole.

    Args:
        cache: the folder of the cache.
        name: as `digest` makes it.
        build: fills the folder it is given.

    Raises:
        UserError: a cache that cannot be written, or what `build` raises.
    """
    folder, staging = cache / name, cache / (name + UNFINISHED)
    if folder.exists():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{name}.lock"):
            if not folder.exists():
                # Whoever holds the lock is alone: this can only be left over from a killed build.
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir()
                try:
                    build(staging)
                    _sync(staging)
                    os.rename(staging, folder)
                finally:
                    shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{cache}: derived tables cannot be kept here ({error.strerror or error}); "
            "set TZREC_CACHE_DIR to a folder with room that may be written"
        ) from None
    return folder


def _sync(folder: Path) -> None:
    """Has everything on the disk before the folder gets its name: a power cut must not leave a hole."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
