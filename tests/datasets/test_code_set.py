"""The set answers as Python's does."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tzrec.datasets.code_set import CodeSet

# -(2**62) - 1 and those below it are what the set first takes for empty slots.
NUMBERS = st.one_of(
    st.integers(-5, 40), st.integers(-(2**62) - 3, -(2**62)), st.integers(-(2**63), 2**63 - 1)
)


@given(held=st.lists(NUMBERS, max_size=200), asked=st.lists(NUMBERS, max_size=200))
def test_holds_what_it_was_given(held: list[int], asked: list[int]) -> None:
    asked = asked + held[::2]
    found = CodeSet(np.array(held, np.int64)).has(np.array(asked, np.int64))
    assert found.tolist() == [value in set(held) for value in asked]


def test_many_values() -> None:
    rng = np.random.default_rng(0)
    held, asked = rng.integers(0, 10**6, 200_000), rng.integers(0, 10**6, 50_000)
    built = CodeSet(held)
    assert np.array_equal(built.has(asked), np.isin(asked, held))
    assert len(built.levels) < 12


def test_multiples_of_a_power_of_two() -> None:
    held = np.arange(5000, dtype=np.int64) << 40
    assert CodeSet(held).has(held).all()
    assert not CodeSet(held).has(held + 1).any()
