"""An output folder that holds everything or nothing."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tzrec.runtime.errors import UserError

CONFIG = "pipeline.config"


@contextmanager
def staged(output_dir: str) -> Iterator[Path]:
    """A temporary folder that takes the place of `output_dir` when the block ends well.

    It is a sibling of the output folder and is renamed. Where the output folder exists and is
    empty (a mounted volume, the current folder) it lies inside instead, and what it holds is
    moved up, the configuration last. It is removed when the block raises.

    Args:
        output_dir: a local folder that does not exist or is empty.

    Raises:
        UserError: a URL, a file, a folder that holds something or cannot be written.
    """
    if not output_dir.strip() or "://" in output_dir:
        raise UserError(f'--output_dir: "{output_dir}" is no local folder; give one that does not exist yet')
    final = Path(os.path.realpath(output_dir))
    inside = final.is_dir()
    if inside and any(final.iterdir()):
        raise UserError(
            f"--output_dir: {output_dir} already holds something; give another folder or remove it"
        )
    if final.exists() and not inside:
        raise UserError(f"--output_dir: {output_dir} is a file; give a folder that does not exist yet")
    stage = (final if inside else final.parent) / f".{final.name}.unfinished-{os.getpid()}"
    try:
        stage.mkdir(parents=True)
        yield stage
        if inside:
            for child in sorted(stage.iterdir(), key=lambda path: (path.name == CONFIG, path.name)):
                child.rename(final / child.name)
            stage.rmdir()
        else:
            _rename(stage, final, output_dir)
    except OSError as error:
        raise UserError(
            f"--output_dir: {output_dir} cannot be written ({error.strerror or error}); give another folder"
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _rename(stage: Path, final: Path, output_dir: str) -> None:
    try:
        stage.rename(final)
    except OSError:
        if final.exists():
            raise UserError(f"--output_dir: {output_dir} was filled by something else meanwhile") from None
        raise
