"""How many threads a process computes with."""

import os

import pytest

from tzrec.runtime.world import World, compute_threads


@pytest.mark.parametrize(
    ("local_size", "variable", "expected"),
    [
        (1, None, None),
        (1, "1", None),
        (2, "1", 4),  # what torchrun sets
        (3, "1", 2),
        (2, None, 4),
        (2, "3", None),
        (16, "1", 1),
    ],
)
def test_threads_of_a_process(monkeypatch, local_size: int, variable: str | None, expected) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert compute_threads(World(size=local_size, local_size=local_size)) == expected
