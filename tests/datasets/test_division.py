"""Dividing a pass: every row once whatever the ranks, however often they change within the pass."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.test_rows import worlds, write
from tzrec.datasets.division import (
    Leg,
    Span,
    batch_sizes,
    evaluation_course,
    remaining,
    take,
    training_course,
)
from tzrec.datasets.loader import Loader
from tzrec.datasets.parquet import ParquetTable

LEGS = st.lists(
    st.builds(Leg, ranks=st.integers(1, 4), batch_size=st.integers(1, 30), steps=st.integers(0, 6)),
    max_size=4,
)


def rows_of(spans: list[Span], rows: int, streams: int) -> list[int]:
    starts = [rows * stream // streams for stream in range(streams)]
    return [starts[span.stream] + n for span in spans for n in range(span.start, span.stop)]


@given(rows=st.integers(1, 300), size=st.integers(1, 5), batch=st.integers(2, 40))
def test_every_rank_takes_the_same_steps_and_every_row_is_taken(rows: int, size: int, batch: int) -> None:
    sizes = [batch_sizes(rows, world, batch) for world in worlds(size)]
    assert len({len(each) for each in sizes}) == 1
    assert sum(each.sum() for each in sizes) == rows
    assert all(each.max(initial=0) <= batch for each in sizes)
    if rows >= size:
        assert all(each.min() >= 1 for each in sizes)
    full = [batch_sizes(rows, world, batch, drop_remainder=True) for world in worlds(size)]
    assert len({len(each) for each in full}) == 1
    assert all((each == batch).all() for each in full)


def test_a_change_of_ranks_by_hand() -> None:
    """20 rows: two ranks take one batch of 3 each; what is left, 3..10 and 13..20, goes to three."""
    leg = Leg(ranks=2, batch_size=3, steps=1)
    assert remaining(20, [leg]) == [Span(0, 3, 10), Span(1, 3, 10)]
    courses = [training_course(20, world, Leg(3, 2), [leg]) for world in worlds(3)]
    assert [list(course.spans) for course in courses] == [
        [Span(0, 3, 7)],
        [Span(0, 7, 10), Span(1, 3, 5)],
        [Span(1, 5, 10)],
    ]
    assert [course.sizes.tolist() for course in courses] == [[2, 1, 1], [2, 2, 1], [2, 2, 1]]
    assert [(course.done, course.number) for course in courses] == [(1, 1)] * 3
    assert take([Span(0, 3, 5), Span(1, 0, 4)], 1, 4) == [Span(0, 4, 5), Span(1, 0, 2)]


@given(rows=st.integers(1, 400), legs=LEGS, size=st.integers(1, 5), batch=st.integers(2, 30))
def test_what_legs_leave_is_divided_without_loss(rows: int, legs: list[Leg], size: int, batch: int) -> None:
    streams = legs[0].ranks if legs else size
    left = rows_of(remaining(rows, legs), rows, streams)
    courses = [training_course(rows, world, Leg(size, batch), legs) for world in worlds(size)]
    divided = [n for course in courses for n in rows_of(list(course.spans), rows, streams)]
    assert sorted(divided) == sorted(left)
    assert len(set(divided)) == len(divided)
    assert len({len(course.sizes) for course in courses}) == 1
    assert sum(course.sizes.sum() for course in courses) == len(left)


@given(rows=st.integers(1, 300), batch=st.integers(1, 40), size=st.integers(1, 6))
def test_batches_of_an_evaluation_do_not_depend_on_the_world(rows: int, batch: int, size: int) -> None:
    alone = evaluation_course(rows, worlds(1)[0], batch)
    expected = dict(enumerate(np.split(np.arange(rows), np.cumsum(alone.sizes)[:-1])))
    found = {}
    courses = [evaluation_course(rows, world, batch) for world in worlds(size)]
    for course in courses:
        own = np.array(rows_of(list(course.spans), rows, 1), np.int64)
        for number, part in enumerate(np.split(own, np.cumsum(course.sizes)[:-1]), course.number):
            if len(part):
                assert number not in found
                found[number] = part
    assert {n: part.tolist() for n, part in found.items()} == {
        n: part.tolist() for n, part in expected.items()
    }
    assert len({len(course.sizes) for course in courses}) == 1


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_runs_of_any_worlds_that_follow_one_another_read_every_row_once(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Through files: any count of rows, files, row groups, workers, buffers, ranks, batches, stops."""
    rows, files = data.draw(st.integers(1, 150)), data.draw(st.integers(1, 4))
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    table = ParquetTable(write(folder, rows, files, data.draw(st.integers(1, 50))), ["n"])
    seen: list[int] = []
    legs: tuple[Leg, ...] = ()
    epoch, place = data.draw(st.integers(0, 2)), 0
    for _ in range(data.draw(st.integers(1, 4))):
        size, batch = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 30))
        options = {
            "workers": data.draw(st.integers(0, 2)),
            "buffer_rows": data.draw(st.sampled_from([0, 1, 7, 64])),
        }
        loaders = [
            Loader(table, world, lambda part, _, step: (step, part["n"].to_pylist()), batch, **options)
            for world in worlds(size)
        ]
        for loader in loaders:
            loader.resume(epoch, legs)
        (whole,) = {loader.steps_in(epoch) for loader in loaders}
        stop = data.draw(st.integers(place, whole))
        for loader in loaders:
            made = list(loader.batches(epoch, place, stop))
            assert [step for step, _ in made] == list(range(place, stop))
            seen += [n for _, part in made for n in part]
        (legs,) = {loader.legs(epoch, stop) for loader in loaders}
        place = stop
    for loader in loaders:
        seen += [n for _, part in loader.batches(epoch, place) for n in part]
    assert sorted(seen) == list(range(rows))


def test_the_same_division_goes_on_with_the_very_batches(tmp_path: Path) -> None:
    table = ParquetTable(write(tmp_path, 100, 2, 30), ["n"])

    def loader() -> Loader[list[int]]:
        return Loader(table, worlds(2)[1], lambda part, *_: part["n"].to_pylist(), 7, buffer_rows=20)

    before, after = loader(), loader()
    expected = list(before.batches(1))
    for stop in (2, 3, 5):
        after.resume(1, before.legs(1, stop))
        assert list(after.batches(1, stop)) == expected[stop:]
        # Stopped twice: the leg is lengthened, not divided anew.
        before.resume(1, before.legs(1, stop))
    assert before.legs(1, 5) == (Leg(2, 7, 20, False, 5),)


@pytest.mark.parametrize("group", [10, 25])
def test_a_table_of_other_row_groups_is_another_one(tmp_path: Path, group: int) -> None:
    prints = {ParquetTable(write(tmp_path / str(n), 100, 1, n)).fingerprint for n in (group, group, 50)}
    assert len(prints) == 2
