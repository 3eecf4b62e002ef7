"""Stopping on a signal: all ranks stop after the same step, whichever of them got it."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from tzrec.runtime.processes import own_group
from tzrec.runtime.world import World

# A terminal sends Ctrl-C to every process and torchrun sends it on: within so many seconds it is one.
ONE_PRESS = 1.0


class Stop:
    """Turns SIGTERM and SIGINT into a question that is asked after every step.

    The ranks vote without waiting: the votes of one step are counted at the next, so a signal
    stops the run one step later than it could, and no step waits for it. A second SIGINT ends
    this process at once. A context manager; every rank makes one and asks equally often.

    Args:
        world: the place of this process.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.received = 0
        self.decided = 0
        self._at = 0.0
        self._group = own_group() if world.size > 1 else None
        self._votes = torch.zeros(1, dtype=torch.int32)
        self._count: Any = None

    def __enter__(self) -> "Stop":
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._count is not None:
            self._count.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and self.received and now - self._at > ONE_PRESS:
            raise KeyboardInterrupt
        self.received, self._at = max(self.received, number), now

    @property
    def name(self) -> str:
        """Of the signal that was agreed upon."""
        return signal.Signals(self.decided).name

    def agreed(self) -> bool:
        """Whether all ranks are to stop now. Collective, and the same on all ranks."""
        if self._group is None:
            self.decided = self.received
        elif not self.decided:
            if self._count is not None:
                self._count.wait()
                self.decided = int(self._votes)
            self._count = None
            if not self.decided:
                self._votes.fill_(self.received)
                self._count = dist.all_reduce(
                    self._votes, dist.ReduceOp.MAX, group=self._group, async_op=True
                )
        return bool(self.decided)
