"""Output folders that appear under their name only when they are whole."""

import os
import shutil
from pathlib import Path

from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import barrier
from tzrec.runtime.world import World

UNFINISHED = ".unfinished"


class StagedFolder:
    """A folder that all ranks write into, renamed to its final name when all have finished.

    What a run that was cut off has left is cleared away when the next one begins. Use:

        folder = StagedFolder(path, "--export_dir", world)
        folder.begin()            # collective
        ... write into folder.path ...
        folder.finish()           # collective

    Args:
        final: the folder's name.
        flag: what to call it in an error.
        world: the place of this process.

    Raises:
        UserError: the folder already holds something.
    """

    def __init__(self, final: str, flag: str, world: World) -> None:
        if "://" in final:
            raise UserError(f"{flag}: {final} is a URL; output is written to local folders only")
        self.final = Path(final.rstrip("/") or "/")
        self.path = self.final.with_name(self.final.name + UNFINISHED)
        self.flag, self.world = flag, world
        if self.final.is_dir() and any(self.final.iterdir()):
            raise UserError(f"{flag}: {final} already holds something; give another folder or remove it")
        if self.final.exists() and not self.final.is_dir():
            raise UserError(f"{flag}: {final} is a file; give a folder that does not exist yet")

    def begin(self) -> None:
        """Makes the staging folder. Collective.

        Raises:
            UserError: a place that cannot be written.
        """
        # No rank may look at the final folder after another one has finished it.
        barrier(self.world)
        if self.world.is_first:
            try:
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)
            except OSError as error:
                raise UserError(
                    f"{self.flag}: {self.path}: {error.strerror}; give a folder that can be written"
                ) from None
        barrier(self.world)

    def finish(self) -> None:
        """Gives the folder its final name. Collective."""
        barrier(self.world)
        if self.world.is_first:
            os.rename(self.path, self.final)
        barrier(self.world)

    def give_up(self) -> None:
        """Removes what was written so far."""
        shutil.rmtree(self.path, ignore_errors=True)
