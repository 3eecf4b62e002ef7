"""From a table to batches: one thread reads in order, workers make batches, the order is kept.

Workers are threads. Arrow and NumPy release the interpreter lock in their loops, so threads
overlap with the training step, share the negative table and cost no start-up; processes would
each pay imports and memory. See docs/decisions.md.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Generic, TypeVar

import pyarrow as pa

from tzrec.datasets.division import Course, Leg, Span, evaluation_course, length, take, training_course
from tzrec.datasets.rows import RowStream, cut
from tzrec.datasets.table import Table
from tzrec.features.values import BadValueError
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World

Made = TypeVar("Made")

# Batches that wait ready for the step, beyond one a worker.
READY = 2


class Loader(Generic[Made]):
    """The batches of one rank, pass after pass.

    Batch `step` of pass `epoch` is a function of the table, the division of its rows and these
    two numbers, whatever the number of workers, so a pass can go on at any step.

    Args:
        table: where the rows are.
        world: the place of this process.
        make: turns the rows of batch (epoch, step) into what the consumer wants.
        batch_size: rows of a full batch, on this rank.
        workers: threads that make batches; 0 makes them in the caller.
        buffer_rows: rows mixed with one another; 0 does not shuffle.
        drop_remainder: leave out what does not fill a batch on every rank.
        whole_batches: cut batches through the whole table and deal them out, so that a batch and
            its number do not depend on the world; the numbers of a rank then do not begin at 0.
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
        whole_batches: bool = False,
    ) -> None:
        self.table, self.world, self.make, self.workers = table, world, make, workers
        self.here = Leg(world.size, batch_size, buffer_rows, drop_remainder)
        self.course = (
            evaluation_course(table.num_rows, world, batch_size)
            if whole_batches
            else training_course(table.num_rows, world, self.here)
        )
        # The pass that other runs have begun, their legs, and what is left of it for this rank.
        self.broken, self.rest = -1, self.course
        self.earlier: tuple[Leg, ...] = ()

    @property
    def steps(self) -> int:
        """Batches of a whole pass, the same on every rank."""
        return len(self.course.sizes)

    def steps_in(self, epoch: int) -> int:
        """Batches of pass `epoch`, those of the runs that began it among them."""
        course = self._course(epoch)
        return course.done + len(course.sizes)

    def resume(self, epoch: int, legs: Sequence[Leg]) -> None:
        """Takes over pass `epoch` where other runs have left it.

        Args:
            epoch: the pass under way.
            legs: as `legs` gave them; none for a pass from its beginning.
        """
        if legs and legs[-1].goes_on_as(self.here):
            legs = legs[:-1]
        self.broken, self.earlier = (epoch, tuple(legs)) if legs else (-1, ())
        self.rest = training_course(self.table.num_rows, self.world, self.here, self.earlier)

    def legs(self, epoch: int, step: int) -> tuple[Leg, ...]:
        """How pass `epoch` has been gone through as far as `step`: all that `resume` needs."""
        earlier = self.earlier if epoch == self.broken else ()
        steps = step - sum(leg.steps for leg in earlier)
        return (*earlier, replace(self.here, steps=steps)) if steps else earlier

    def _course(self, epoch: int) -> Course:
        return self.rest if epoch == self.broken else self.course

    def batches(self, epoch: int = 0, start: int = 0, stop: int | None = None) -> Iterator[Made]:
        """Batches [start, stop) of pass `epoch`, counted from its beginning; to its end by default."""
        course = self._course(epoch)
        start -= course.done
        sizes = course.sizes[start : None if stop is None else stop - course.done]
        rows = cut(self._read(course, epoch, int(course.sizes[:start].sum())), sizes, self.table.schema)
        numbered = enumerate(rows, course.number + start)
        if self.workers == 0:
            for step, batch in numbered:
                yield self._made(batch, epoch, step)
            return
        yield from self._in_threads(numbered, epoch)

    def _read(self, course: Course, epoch: int, done: int) -> Iterator[pa.RecordBatch]:
        for span in take(course.spans, done, length(course.spans)):
            yield from self._stream(course, span).read(epoch, span.start, span.stop)

    def _stream(self, course: Course, span: Span) -> RowStream:
        part = World(span.stream, course.streams).share(self.table.num_rows)
        return RowStream(self.table, *part, course.buffer_rows)

    def _made(self, batch: pa.RecordBatch, epoch: int, step: int) -> Made:
        try:
            return self.make(batch, epoch, step)
        except BadValueError as error:
            raise UserError(f"{self._place(epoch, step, error.row)}: {error}") from None

    def _place(self, epoch: int, step: int, row: int) -> str:
        """What to call a row of a batch: where the table has it."""
        course = self._course(epoch)
        batch = step - course.number
        if row >= course.sizes[batch]:
            return "a sampled negative"
        index = int(course.sizes[:batch].sum()) + row
        [span] = take(course.spans, index, index + 1)
        return self.table.place(self._stream(course, span).table_row(epoch, span.start))

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
