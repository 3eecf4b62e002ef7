"""Progress of long work: one bar on the first rank, with rate and time left."""

import sys

from tqdm import tqdm

from tzrec.runtime.world import World


def bar(world: World, total: int | None, unit: str, title: str, delay: float = 0) -> tqdm:
    """A bar on stderr; redraws rarely where nobody watches a terminal, not at all on other ranks.

    Args:
        world: only its first rank shows the bar.
        total: how many units there are; None when it is not known.
        unit: what is counted, such as "rows".
        title: what is being done.
        delay: seconds before it is first shown; shorter work shows none.
    """
    return tqdm(
        total=total,
        unit=f" {unit}",
        unit_scale=True,
        desc=title,
        disable=not world.is_first,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        dynamic_ncols=True,
        delay=delay,
    )


def say(world: World, message: str) -> None:
    """A line on stdout from the first rank."""
    if world.is_first:
        print(message, flush=True)


def duration(seconds: float) -> str:
    """`1:02:03`, `4:05` or `7.3 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
