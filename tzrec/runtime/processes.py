"""What the processes of a job tell one another. Nothing here imports torch in a job of one process."""

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from tzrec.runtime.errors import UserError
from tzrec.runtime.peers import exchange, stopped
from tzrec.runtime.world import World, patience

T = TypeVar("T")


def join_group(backend: str = "gloo") -> None:
    """Makes the default process group if there is none; the launcher's environment says how to meet.

    A job of one process that was not launched by torchrun meets itself in memory.
    """
    import torch.distributed as dist

    if dist.is_initialized():
        return
    waiting = timedelta(seconds=patience())
    if dist.is_torchelastic_launched() or World.from_environment().size > 1:
        store, rank, size = next(dist.rendezvous("env://", timeout=waiting))
        store = dist.PrefixStore(_meet(store, rank, size), store)
    else:
        store, rank, size = dist.HashStore(), 0, 1
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=waiting)
    exchange(store, rank, size)


def _meet(store: Any, rank: int, size: int) -> str:
    """A name that the processes of this start share and those of no earlier one.

    torchrun keeps its store when it starts workers again (--max-restarts), with the addresses of
    the ones before in it; torch 2.13 takes these and fails. Nothing in the environment numbers
    the starts alike on all hosts. So every rank knocks with a word that nobody has used, and
    the first one answers until all have heard it.
    """
    if rank == 0:
        name, answered = uuid.uuid4().hex, {""}
        heard = [f"tzrec/heard/{name}/{other}" for other in range(1, size)]
        end = time.monotonic() + patience()
        while heard and not store.check(heard):
            for other in range(1, size):
                knock = f"tzrec/knock/{other}"
                word = store.get(knock).decode() if store.check([knock]) else ""
                if word not in answered:
                    store.set(f"tzrec/answer/{word}", name)
                    answered.add(word)
            if time.monotonic() > end:
                raise RuntimeError(f"gloo: timed out waiting for {size - 1} processes to start")
            time.sleep(0.01)
        return name
    word = uuid.uuid4().hex
    store.set(f"tzrec/knock/{rank}", word)
    name = store.get(f"tzrec/answer/{word}").decode()
    store.set(f"tzrec/heard/{name}/{rank}", "")
    return name


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
        if peer := stopped():
            return (
                f"rank {peer.rank} (process {peer.pid} on {peer.host}) was stopped by a signal (SIGSTOP) and "
                f"has not answered for {patience():g} s (TZREC_PATIENCE); let it go on "
                f"(kill -CONT {peer.pid}) or end it, then start the job again"
            )
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


def agreed(world: World, work: Callable[[], T]) -> T:
    """Does `work` on this rank; a UserError on any rank is raised on every one. Collective."""
    result: list[T] = []
    problem = None
    try:
        result.append(work())
    except UserError as error:
        problem = str(error)
        if world.size == 1:
            raise
    for message in gather(world, problem):
        if message is not None:
            raise UserError(message)
    return result[0]
