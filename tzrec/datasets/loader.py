"""From a table to batches: one thread reads in order, workers make batches, the order is kept.

Workers are threads. Arrow and NumPy release the interpreter lock in their loops, so threads
overlap with the training step, share the negative table and cost no start-up; processes would
each pay imports and memory. See docs/decisions.md.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import pyarrow as pa

from tzrec.datasets.rows import RowStream, batch_sizes, cut
from tzrec.datasets.table import Table
from tzrec.features.values import BadValueError
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World

Made = TypeVar("Made")

# Batches that wait ready for the step, beyond one a worker.
READY = 2


class Loader(Generic[Made]):
    """The batches of one rank, pass after pass.

    Batch `step` of pass `epoch` is a function of the table, the world's size and these two
    numbers, whatever the number of workers, so a pass can go on at any step.

    Args:
        table: where the rows are.
        world: the place of this process.
        make: turns the rows of batch (epoch, step) into what the consumer wants.
        batch_size: rows of a full batch, on this rank.
        workers: threads that make batches; 0 makes them in the caller.
        buffer_rows: rows mixed with one another; 0 does not shuffle.
        drop_remainder: leave out what does not fill a batch on every rank.
    """

    def __init__(
        self,
        table: Table,
        world: World,
        make: Callable[[pa.RecordBatch, int, int], Made],
        batch_size: int,
        workers: int = 0,
        buffer_rows: int = 0,
        drop_remainder: bool = False,
    ) -> None:
        self.table = table
        self.make = make
        self.workers = workers
        self.stream = RowStream(table, *world.share(table.num_rows), buffer_rows)
        self.sizes = batch_sizes(table.num_rows, world, batch_size, drop_remainder)

    @property
    def steps(self) -> int:
        """Batches of a pass, the same on every rank."""
        return len(self.sizes)

    @property
    def rows(self) -> int:
        """Rows of a pass on this rank."""
        return int(self.sizes.sum())

    def batches(self, epoch: int = 0, start: int = 0, stop: int | None = None) -> Iterator[Made]:
        """Batches [start, stop) of pass `epoch`; to its end when `stop` is None."""
        sizes = self.sizes[start:stop]
        rows = cut(self.stream.read(epoch, int(self.sizes[:start].sum())), sizes, self.table.schema)
        numbered = enumerate(rows, start)
        if self.workers == 0:
            for step, batch in numbered:
                yield self._made(batch, epoch, step)
            return
        yield from self._in_threads(numbered, epoch)

    def _made(self, batch: pa.RecordBatch, epoch: int, step: int) -> Made:
        try:
            return self.make(batch, epoch, step)
        except BadValueError as error:
            raise UserError(f"{self._place(epoch, step, error.row)}: {error}") from None

    def _place(self, epoch: int, step: int, row: int) -> str:
        """What to call a row of a batch: where the table has it."""
        if row >= self.sizes[step]:
            return "a sampled negative"
        return self.table.place(self.stream.table_row(epoch, int(self.sizes[:step].sum()) + row))

    def _in_threads(self, numbered: Iterator[tuple[int, pa.RecordBatch]], epoch: int) -> Iterator[Made]:
        ready: queue.Queue[Future[Made] | BaseException | None] = queue.Queue()
        room = threading.Semaphore(self.workers + READY)
        stopped = threading.Event()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")

        def feed() -> None:
            try:
                for step, batch in numbered:
                    room.acquire()
                    if stopped.is_set():
                        return
                    ready.put(pool.submit(self._made, batch, epoch, step))
                ready.put(None)
            except BaseException as error:  # Raised where the batches are consumed.
                ready.put(error)

        feeder = threading.Thread(target=feed, name="reader", daemon=True)
        feeder.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                made = item.result()
                room.release()
                yield made
        finally:
            stopped.set()
            room.release()
            feeder.join()
            pool.shutdown(cancel_futures=True)
