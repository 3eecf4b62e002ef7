"""Folders of derived arrays in the cache: built once a host, whole or absent, mapped by every process.

An entry lists the checksums of its files, which are compared once a start of a job on a host. One that
is damaged in any way is built anew: what it was made from is there.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tzrec.datasets.cache_owner import refuse_others
from tzrec.runtime.checksum import checksums, damaged
from tzrec.runtime.errors import UserError
from tzrec.runtime.lock import Lock, waiting_for
from tzrec.runtime.progress import duration, say
from tzrec.runtime.world import World, launch_identity

UNFINISHED = ".unfinished"
LOCK = ".lock"
# Says for which launch the entry was compared.
CHECKED = ".checked"
CHECKSUMS = "checksums.json"
LONG = 10.0  # seconds; a comparison that takes longer is spoken of

# What this process has compared: the files of each entry with size, time of change and number.
_compared: dict[Path, list[tuple[str, int, int, int]]] = {}


def digest(kind: str, recipe: Any) -> str:
    """A name for what is made from a recipe: another recipe, another name."""
    return f"{kind}-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]}"


def built_once(cache: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made by `build` when it is not there or not what was written.

    One process builds, the others wait for it, at most TZREC_PATIENCE. `build` fills a folder of
    another name, which gets its own by one rename, so that what a killed process leaves is never taken
    for whole; the next start of any job removes it.

    Args:
        cache: the folder of the cache.
        name: as `digest` makes it.
        build: fills the folder it is given.

    Raises:
        UserError: a cache that cannot be written or that others may change, a builder that does not
            finish, or what `build` raises.
    """
    folder = cache / name
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_others(cache)
        if folder.is_dir() and not os.access(cache, os.W_OK):
            if file := _difference(folder):
                raise UserError(
                    f"{folder / file}: is not what was written, and {cache} cannot be written to build it "
                    "anew; set TZREC_CACHE_DIR to a folder that may be written"
                )
            return folder
        _remove_dead(cache)
        announce = partial(say, World()) if World.from_environment().local_rank == 0 else lambda line: None
        with waiting_for(cache / (name + LOCK), f"builds or checks {name} in the cache", announce):
            _compare(folder)
            if not folder.exists():
                _build(folder, build)
    except OSError as error:
        raise UserError(
            f"{cache}: derived tables cannot be kept here ({error.strerror or error}); "
            "set TZREC_CACHE_DIR to a folder with room that may be written"
        ) from None
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    staging = _aside(folder)
    staging.mkdir()
    try:
        build(staging)
        sums = checksums(staging, sorted(path.name for path in staging.iterdir()))
        (staging / CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")
        _sync(staging)
        try:
            os.rename(staging, folder)
        except OSError:
            if not folder.is_dir():  # Where nothing can be locked, another one may have been first.
                raise
        _remember(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _aside(folder: Path) -> Path:
    """A name beside the entry that no other process uses."""
    return folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}{UNFINISHED}")


def _compare(folder: Path) -> None:
    """Takes an entry away that is not what was written. Only who holds its lock may call this."""
    if not folder.exists() or _compared.get(folder) == _state(folder):
        return
    mark = _mark(folder)
    if World.from_environment().local_size > 1 and _text(mark) == launch_identity():
        return
    started = time.monotonic()
    refuse_others(folder)
    file = _difference(folder)
    if file is not None:
        say(World(), f"{folder / file}: is not what was written; the folder is built anew from its table")
        aside = _aside(folder)
        os.rename(folder, aside)  # Jobs that have mapped it keep what they have.
        shutil.rmtree(aside, ignore_errors=True)
        return
    _remember(folder)
    if (seconds := time.monotonic() - started) > LONG:
        size = sum(path.stat().st_size for path in folder.iterdir())
        say(World(), f"{folder}: {size / 1e9:.2f} GB compared with their checksums in {duration(seconds)}")


def _difference(folder: Path) -> str | None:
    """The first file of an entry that is not what was written."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_bytes())
        present = {path.name for path in folder.iterdir()} - {CHECKSUMS}
        if not sums or {*map(str, sums.values())} != {*sums.values()}:
            return CHECKSUMS
        if other := sorted(present ^ set(sums)):
            return other[0]
        return damaged(folder, sums)
    except (OSError, ValueError, AttributeError, TypeError):
        return CHECKSUMS


def _remember(folder: Path) -> None:
    """The processes of this launch on this host need not compare the entry again."""
    _compared[folder] = _state(folder)
    if World.from_environment().local_size > 1:
        _mark(folder).write_text(launch_identity(), encoding="utf-8")


def _mark(folder: Path) -> Path:
    return folder.with_name(folder.name + CHECKED)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _state(folder: Path) -> list[tuple[str, int, int, int]]:
    found = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    return [(name, there.st_size, there.st_mtime_ns, there.st_ino) for name, there in found]


def _remove_dead(cache: Path) -> None:
    """Removes what builders have left that were killed: that nobody holds a lock on."""
    left = [path for path in cache.iterdir() if path.name.endswith(UNFINISHED)]
    for name in sorted({path.name.split(".")[0] for path in left}):
        lock = Lock(cache / (name + LOCK))
        if not lock.acquire():
            continue
        try:
            if lock.exclusive:
                for path in left:
                    if path.name.split(".")[0] == name:
                        shutil.rmtree(path, ignore_errors=True)
        finally:
            lock.release()


def _sync(folder: Path) -> None:
    """Has everything on the disk before the folder gets its name: a power cut must not leave a hole."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
