"""Outputs that appear under their final name only when they are whole.

A writer of NAME works in `.NAME.unfinished-1f2e3d4c`, which no other writer has, and renames it at
the end. From before its work until then the first rank holds `.NAME.tzrec-lock`, so a second writer
into the same output learns at once that it is the second. Death frees the lock; whatever is then
left unfinished is of nobody, and the next writer beside it removes it.

    with StagedFolder(path, "--export_dir", world) as folder:   # collective
        ... write into folder.path ...
        folder.finish()                                         # collective
"""

import contextlib
import errno
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from tzrec.runtime import places
from tzrec.runtime.claim import claim, lock_path, new_work_path, remove, remove_dead
from tzrec.runtime.errors import UserError
from tzrec.runtime.files_together import replace_together
from tzrec.runtime.lock import Lock
from tzrec.runtime.processes import agreed, barrier, gather
from tzrec.runtime.storage import writing
from tzrec.runtime.world import World


class StagedFolder:
    """A new folder that all ranks write into.

    A folder that is there already and empty is replaced; where it is a mounted volume or the
    current folder, or its parent cannot be written, what was written is moved into it instead.

    Args:
        final: the folder's path.
        flag: what to call it in an error.
        world: the place of this process.
        last: of the files that are moved into a folder that is there, the one that is moved last.

    Attributes:
        final: the path as it was given.
        path: where to write, once it has begun.

    Raises:
        UserError: a path that cannot become this output.
    """

    def __init__(self, final: str, flag: str, world: World, last: str = "") -> None:
        self.flag, self.world, self.last = flag, world, last
        if world.is_first and final.strip() and "://" not in final:
            # Before the check: what a killed writer left in the folder does not fill it.
            remove_dead(Path(os.path.realpath(final)))
        self._check(final)
        self.final = Path(final.rstrip("/"))
        self.path = Path()
        self._real = Path(os.path.realpath(final))
        self._lock: Lock | None = None
        self._holder = ""
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_up()

    def begin(self) -> None:
        """Takes the output for this job and makes the place to write into. Collective.

        Raises:
            UserError: on every rank, when somebody else is writing it or it cannot be written.
        """
        try:
            path = agreed(self.world, lambda: self._claim() if self.world.is_first else None)
            self.path, self._holder = gather(self.world, (path, self._holder))[0]  # type: ignore[assignment]
        except BaseException:
            self.give_up()
            raise

    def finish(self) -> None:
        """Gives what was written its final name. Collective.

        Raises:
            UserError: on every rank, when it cannot be had.
        """
        finish_together([self])

    def writing(self) -> AbstractContextManager[None]:
        """Inside, what the file system refuses becomes an error that names flag and path."""
        return writing(f"{self.flag}: {self.final}", self.path if self.path.name else None)

    def give_up(self) -> None:
        """Removes what has no final name yet and frees the output; any rank may."""
        if self.path.name:
            remove(self.path)
        if self._lock is None and self._holder:
            # The first rank may be ended by its launcher before it comes to do this.
            with contextlib.suppress(OSError):
                lock = lock_path(self._real)
                if lock.read_text(encoding="utf-8") == self._holder:
                    lock.unlink()
        made = reversed(self._made)
        self.release()
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def release(self) -> None:
        """Frees the output; what was written stays."""
        if self._lock is not None:
            self._lock.release()
        self._lock, self._made, self._holder, self.path = None, [], "", Path()

    def _check(self, final: str) -> None:
        places.new_folder(final, self.flag)

    def _claim(self) -> Path:
        with self.writing():
            lock = Lock(lock_path(self._real))
            self._make_parents(lock.path.parent)
            claim(lock, self.flag, self.final)
            self._lock = lock
            # Another writer may have finished between the first check and the lock.
            self._check(str(self.final))
            with contextlib.suppress(OSError):
                self._holder = lock.path.read_text(encoding="utf-8")
            # Set at once: what is made is removed, whatever happens.
            self.path = new_work_path(self._real)
            self._make()
        return self.path

    def _make_parents(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            # Another writer may make the same one.
            with contextlib.suppress(FileExistsError):
                one.mkdir()
                self._made.append(one)

    def _make(self) -> None:
        self.path.mkdir()

    def sync(self) -> None:
        """Has the disk hold what was written."""
        for root, _, names in os.walk(self.path):
            for name in names:
                _sync(Path(root, name))
            _sync(Path(root))

    def give_name(self) -> None:
        """Renames what was written."""
        parent = self.path.parent
        if parent == self._real:
            for child in sorted(self.path.iterdir(), key=lambda path: (path.name == self.last, path.name)):
                child.rename(self._real / child.name)
            self.path.rmdir()
        else:
            try:
                self.path.rename(self._real)
            except OSError:
                if os.path.lexists(self._real) and not (
                    self._real.is_dir() and not any(self._real.iterdir())
                ):
                    raise UserError(
                        f"{self.flag}: {self.final} was filled by something else meanwhile; give another path"
                    ) from None
                raise
        _sync(parent)


class StagedFile(StagedFolder):
    """A new file that the first rank writes."""

    def _check(self, final: str) -> None:
        places.new_file(final, self.flag)

    def _make(self) -> None:
        # There from the start, so that a disk that refuses it does so before the work.
        self.path.touch(exist_ok=False)

    def sync(self) -> None:
        _sync(self.path)

    def give_name(self) -> None:
        if os.path.lexists(self._real):
            raise UserError(f"{self.flag}: {self.final} was made by something else meanwhile")
        self.path.rename(self._real)
        _sync(self._real.parent)


class StagedFiles(StagedFolder):
    """Files of a folder that may hold others; those of the same names are replaced, all together."""

    def _check(self, final: str) -> None:
        places.local_folder(final, self.flag)

    def give_name(self) -> None:
        self._make_parents(self._real)
        replace_together(self.path, self._real)
        _sync(self._real)


def finish_together(outputs: Sequence[StagedFolder]) -> None:
    """Gives several outputs of one job their names, when the disk holds all of them. Collective.

    Raises:
        UserError: on every rank, when one of them cannot have its name.
    """
    if not outputs:
        return
    world = outputs[0].world
    barrier(world)

    def finish() -> None:
        for output in outputs:
            with output.writing():
                output.sync()
        for output in outputs:
            with output.writing():
                output.give_name()

    agreed(world, lambda: finish() if world.is_first else None)
    for output in outputs:
        output.release()


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        # Of a folder on a file system that cannot.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(file)
