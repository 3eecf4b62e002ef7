"""Whether a checkpoint is whole; what is said of one that is not, and which older one is.

Nothing chooses another checkpoint by itself: the line names it, and the user decides.
"""

import shlex
from pathlib import Path

from tzrec.runtime.checksum import checksums, damaged
from tzrec.runtime.errors import UserError
from tzrec.training.checkpoints.facts import STATE, Facts, UnreadableError, parse_facts
from tzrec.training.checkpoints.folders import NAME, path_of, steps_in

METADATA = ".metadata"


class DamagedError(UserError):
    """A checkpoint with a file that is missing or is not what was written."""


def read_facts(checkpoint: Path) -> Facts:
    """What the checkpoint says of itself.

    Raises:
        DamagedError: `state.json` is missing or damaged.
        UserError: it was written by another version.
    """
    try:
        return parse_facts(checkpoint)
    except UnreadableError as error:
        raise damage(checkpoint, error) from None


def own_checksums(checkpoint: Path, rank: int) -> dict[str, str]:
    """name -> checksum of the files that this rank has written; the first one wrote `.metadata` too."""
    names = [file.name for file in checkpoint.glob(f"__{rank}_*.distcp")]
    return checksums(checkpoint, [*names, METADATA] if rank == 0 else names)


def check_files(checkpoint: Path, alone: bool = False) -> str:
    """Compares every file of a checkpoint with its checksum. Collective, unless `alone`.

    The processes divide the files; all of them raise where one of them has found damage.

    Args:
        checkpoint: its folder.
        alone: without a process group, in one process.

    Returns:
        what is to be said of a checkpoint without checksums; "" for one that has them.

    Raises:
        DamagedError: a file is missing or is not what was written.
    """
    import torch.distributed as dist

    together = not alone and dist.is_initialized()
    rank, size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
    found = _first_problem(checkpoint, rank, size)
    if size > 1:
        everywhere: list[UnreadableError | None] = [None] * size
        dist.all_gather_object(everywhere, found)
        found = next((each for each in everywhere if each), None)
        if found:
            # Looking for an older one reads it whole: one process is enough for that.
            text = [str(damage(checkpoint, found)) if rank == 0 else ""]
            dist.broadcast_object_list(text)
            raise DamagedError(text[0])
    if found:
        raise damage(checkpoint, found)
    return "" if read_facts(checkpoint).files else "; it has no checksums, so damage would not be noticed"


def damage(checkpoint: Path, problem: UnreadableError) -> DamagedError:
    """The error for a damaged file: with the next older checkpoint that is whole, and the next step."""
    folder = checkpoint.parent
    if steps_in(folder) and not checkpoint.exists():
        # Not damage: a training run renames what it deletes before it deletes it.
        return DamagedError(
            f"{checkpoint}: was removed meanwhile, as a training run removes all but the newest "
            "(train_config.keep_checkpoint_max); start again, or let it keep more"
        )
    match = NAME.fullmatch(checkpoint.name)
    older = [path_of(folder, step) for step in steps_in(folder) if match and step < int(match[1])]
    whole = next((each for each in reversed(older) if not _first_problem(each)), None)
    away = f"mv {shlex.quote(str(checkpoint))} {shlex.quote(f'{checkpoint}.damaged')}"
    if whole:
        step = f"the next older checkpoint that is whole is {whole}: to use it, name it, or move this one"
        return DamagedError(f"{problem.file}: {problem.what}; {step} away ({away}) and start again")
    return DamagedError(
        f"{problem.file}: {problem.what}; no older checkpoint in {folder} is whole: bring the file back "
        f"from a copy, or move this one away ({away}) and begin anew"
    )


def _first_problem(checkpoint: Path, rank: int = 0, size: int = 1) -> UnreadableError | None:
    """What is wrong with the share of a rank of the files; None if they are whole."""
    try:
        facts = parse_facts(checkpoint)
    except UnreadableError as error:
        return error
    except UserError:
        return UnreadableError(checkpoint / STATE, "was not written by this version of tzrec")
    match = NAME.fullmatch(checkpoint.name)
    if match and facts.position.step != int(match[1]):
        return UnreadableError(
            checkpoint / STATE, f"belongs to another checkpoint, that of step {facts.position.step}"
        )
    paths = [checkpoint / name for name in sorted(facts.files or [METADATA])]
    if lost := next((path for path in paths if not path.is_file()), None):
        return UnreadableError(lost, "is missing")
    # The largest first, so that the shares are about equal.
    paths.sort(key=lambda path: path.stat().st_size, reverse=True)
    share = {path.name: facts.files[path.name] for path in paths[rank::size]} if facts.files else {}
    wrong = damaged(checkpoint, share)
    return UnreadableError(checkpoint / wrong, "is damaged: it is not what was written") if wrong else None
