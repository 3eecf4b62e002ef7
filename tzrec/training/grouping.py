"""Which batches one update takes, and when something is due."""

from collections.abc import Iterable, Iterator

from tzrec.datasets.batch import Batch


def groups(batches: Iterable[Batch], size: int, done: int, left: int) -> Iterator[list[Batch]]:
    """The batches of a pass as one update each takes them.

    Groups are counted from the beginning of the pass, so that a run that goes on divides it as
    the one before. The last group of a pass and that of a run may be smaller.

    Args:
        batches: what is left of the pass.
        size: of a group.
        done: batches of the pass that are done.
        left: batches until the end of the run.
    """
    held: list[Batch] = []
    for number, batch in enumerate(batches, 1):
        held.append(batch)
        if (done + number) % size == 0 or number == left:
            yield held
            held = []
    if held:
        yield held


def passes(before: int, now: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every
