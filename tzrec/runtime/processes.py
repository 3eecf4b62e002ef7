"""What the processes of a job tell one another. Nothing here imports torch in a job of one process."""

from datetime import timedelta
from typing import Any, TypeVar

from tzrec.runtime.world import World

T = TypeVar("T")

# A rank that waits longer than this for another one gives up. Seconds.
PATIENCE = 1800


def join_group(backend: str = "gloo") -> None:
    """Makes the default process group if there is none; torchrun's environment says how to meet.

    A job of one process that was not launched by torchrun meets itself in memory.
    """
    import torch.distributed as dist

    if dist.is_initialized():
        return
    options: dict[str, Any] = {"timeout": timedelta(seconds=PATIENCE)}
    if not dist.is_torchelastic_launched():
        options.update(store=dist.HashStore(), rank=0, world_size=1)
    dist.init_process_group(backend, **options)


def leave_group() -> None:
    """Ends the default process group, if there is one."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def gather(world: World, value: T) -> list[T]:
    """Every rank's value on every rank, by rank. Collective: all ranks must call it.

    Args:
        world: the place of this process.
        value: anything that can be pickled; small.
    """
    if world.size == 1:
        return [value]
    import torch.distributed as dist

    join_group()
    values: list[Any] = [None] * world.size
    dist.all_gather_object(values, value)
    return values


def barrier(world: World) -> None:
    """Returns when every rank has called it."""
    gather(world, None)
