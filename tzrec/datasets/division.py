"""How the rows of a pass are divided over ranks and steps, also when the ranks change within the pass.

Pure arithmetic on row counts: which rows remain after any number of stops is known without
reading one of them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tzrec.runtime.world import World


def batch_sizes(rows: int, world: World, batch_size: int, drop_remainder: bool = False) -> np.ndarray:
    """Rows of every batch of this rank in one pass; every rank has the same number of batches.

    Full batches come first. A rank whose last batch would be empty while another rank's is
    not takes one row from the batch before. A batch is empty only where a rank has fewer
    rows than there are steps, which needs fewer rows than ranks or a batch size of 1.

    Args:
        rows: rows that all ranks divide.
        world: the place of this process.
        batch_size: rows of a full batch.
        drop_remainder: leave out what does not fill a batch on every rank.

    Returns:
        int64 [steps].
    """
    if drop_remainder:
        return np.full(rows // world.size // batch_size, batch_size, np.int64)
    steps = math.ceil(math.ceil(rows / world.size) / batch_size)
    start, stop = world.share(rows)
    sizes = np.clip(stop - start - np.arange(steps) * batch_size, 0, batch_size)
    if steps > 1 and sizes[-1] == 0 and sizes[-2] > 1:
        sizes[-2:] = sizes[-2] - 1, 1
    return sizes


@dataclass(frozen=True)
class Leg:
    """A part of a pass that one run went through; a run that goes on in the same way lengthens it.

    Attributes:
        ranks: processes of the run.
        batch_size: rows of a full batch, on each of them.
        buffer_rows: rows mixed with one another; the first leg's decides the order of the pass.
        drop_remainder: left out what did not fill a batch on every rank.
        steps: how many it took.
    """

    ranks: int
    batch_size: int
    buffer_rows: int = 0
    drop_remainder: bool = False
    steps: int = 0

    def goes_on_as(self, other: "Leg") -> bool:
        """Whether both divide rows in the same way."""
        return replace(self, steps=0) == replace(other, steps=0)


@dataclass(frozen=True)
class Span:
    """The rows [start, stop) of one stream, counted in the order in which the stream is read.

    Attributes:
        stream: the rows that this rank of the first leg began the pass with.
    """

    stream: int
    start: int
    stop: int


@dataclass(frozen=True)
class Course:
    """What one rank reads in one pass.

    Attributes:
        done: steps of the pass that earlier legs took; this rank's come after them.
        number: of the first batch, for whoever makes something of it.
        sizes: int64, rows of each batch from there on.
        spans: where the rows come from, in order.
        streams: how many streams the table is divided into.
        buffer_rows: rows of a stream that are mixed with one another.
    """

    done: int
    number: int
    sizes: np.ndarray
    spans: Sequence[Span]
    streams: int
    buffer_rows: int


def length(spans: Iterable[Span]) -> int:
    """Rows of all spans."""
    return sum(span.stop - span.start for span in spans)


def take(spans: Iterable[Span], start: int, stop: int) -> list[Span]:
    """The rows [start, stop) of spans that stand one after the other."""
    taken, place = [], 0
    for span in spans:
        low, high = max(start - place, 0), min(stop - place, span.stop - span.start)
        if low < high:
            taken.append(Span(span.stream, span.start + low, span.start + high))
        place += span.stop - span.start
    return taken


def remaining(rows: int, legs: Sequence[Leg]) -> list[Span]:
    """What `legs` have left of a pass over `rows` rows; the whole pass of one stream without legs."""
    streams = legs[0].ranks if legs else 1
    spans = []
    for stream in range(streams):
        start, stop = World(stream, streams).share(rows)
        spans.append(Span(stream, 0, stop - start))
    for leg in legs:
        whole, left = length(spans), []
        for rank in range(leg.ranks):
            world = World(rank, leg.ranks)
            mine = take(spans, *world.share(whole))
            done = batch_sizes(whole, world, leg.batch_size, leg.drop_remainder)[: leg.steps].sum()
            left += take(mine, int(done), length(mine))
        spans = left
    return spans


def training_course(rows: int, world: World, here: Leg, earlier: Sequence[Leg] = ()) -> Course:
    """The rows of this rank in a pass: each rank takes an equal part of what is left.

    Args:
        rows: of the table.
        world: the place of this process.
        here: how this run divides rows.
        earlier: legs of the pass that other runs went through.
    """
    # Without earlier legs: this run's own, before its first step.
    left = remaining(rows, earlier or [replace(here, steps=0)])
    whole, done = length(left), sum(leg.steps for leg in earlier)
    first = (*earlier, here)[0]
    return Course(
        done=done,
        number=done,
        sizes=batch_sizes(whole, world, here.batch_size, here.drop_remainder),
        spans=take(left, *world.share(whole)),
        streams=first.ranks,
        buffer_rows=first.buffer_rows,
    )


def evaluation_course(rows: int, world: World, batch_size: int) -> Course:
    """Batches cut through the whole table and dealt out whole, so that none depends on the world.

    A rank takes neighbouring batches; where there is none left for it, its batch is empty.
    """
    batches = math.ceil(rows / batch_size)
    first, last = world.share(batches)
    sizes = np.clip(rows - np.arange(first, last) * batch_size, 0, batch_size)
    sizes = np.pad(sizes, (0, math.ceil(batches / world.size) - len(sizes)))
    start, stop = min(first * batch_size, rows), min(last * batch_size, rows)
    return Course(0, first, sizes, [Span(0, start, stop)] if start < stop else [], streams=1, buffer_rows=0)
