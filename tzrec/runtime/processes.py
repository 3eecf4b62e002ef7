"""What the processes of a job tell one another. Nothing here imports torch in a job of one process."""

from datetime import timedelta
from typing import Any, TypeVar

from tzrec.runtime.world import World, patience

T = TypeVar("T")


def join_group(backend: str = "gloo") -> None:
    """Makes the default process group if there is none; torchrun's environment says how to meet.

    A job of one process that was not launched by torchrun meets itself in memory.
    """
    import torch.distributed as dist

    if dist.is_initialized():
        return
    options: dict[str, Any] = {"timeout": timedelta(seconds=patience())}
    if not dist.is_torchelastic_launched():
        options.update(store=dist.HashStore(), rank=0, world_size=1)
    dist.init_process_group(backend, **options)


def own_group() -> Any:
    """A gloo group of all processes, for what goes on beside the work on the default one. Collective."""
    import torch.distributed as dist

    return dist.new_group(timeout=timedelta(seconds=patience()), backend="gloo")


def lost_contact(error: BaseException) -> str:
    """What an error says about the other processes: that one has gone, that one is silent, or "".

    The libraries raise plain RuntimeErrors for these; only their texts tell them apart.
    """
    kinds = ("DistBackendError", "DistNetworkError", "DistStoreError")
    text = str(error)
    if type(error).__name__ not in kinds and not (isinstance(error, RuntimeError) and "gloo" in text):
        return ""
    if "imed out" in text or "timeout" in text.lower():
        return (
            f"another process has not answered for {patience():g} s (TZREC_PATIENCE): it hangs, or its "
            "host or network is gone"
        )
    return "another process of this job has ended; what it said, or its exit code below, tells why"


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
