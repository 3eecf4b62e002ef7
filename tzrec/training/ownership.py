"""One training run at a time in a model_dir."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tzrec.runtime.errors import UserError
from tzrec.runtime.lock import POLL, Lock
from tzrec.runtime.world import World

LOCK = ".training.lock"

# Seconds that a run which was killed a moment ago may need to be gone.
DYING = 2.0


@contextlib.contextmanager
def only_run_in(model_dir: Path, world: World) -> Iterator[bool]:
    """Keeps other training runs out of a model_dir until the block ends or this process dies.

    The first rank holds the lock; torchrun ends the others when it is refused. A model_dir that is
    made for the lock is removed again if nothing else came into it.

    Yields:
        whether what lies unfinished there belongs to no run; False where the file system cannot
        lock, and on the other ranks.

    Raises:
        UserError: another run holds it, or it is no folder.
    """
    if not world.is_first:
        yield False
        return
    made = [folder for folder in (model_dir, *model_dir.parents) if not folder.exists()]
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{model_dir}: is no folder; give another --model_dir") from None
    lock = Lock(model_dir / LOCK)
    try:
        end = time.monotonic() + DYING
        while not lock.acquire():
            if time.monotonic() > end:
                raise UserError(
                    f"{model_dir}: {lock.holder()} trains into it; wait for it or end it, or give another "
                    "--model_dir"
                )
            time.sleep(POLL)
        yield lock.exclusive
    finally:
        lock.release()
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
