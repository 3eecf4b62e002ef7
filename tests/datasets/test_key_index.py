"""Every key is found with its row; a key that comes again is reported."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.datasets import key_index
from tzrec.datasets.bounded import in_folder
from tzrec.datasets.key_index import build_index

INT64 = st.integers(-(2**63), 2**63 - 1)
KEYS = st.one_of(
    st.lists(INT64, min_size=1, max_size=80), st.lists(st.integers(0, 30), min_size=1, max_size=40)
)


@settings(deadline=None)
@given(KEYS, st.lists(INT64, max_size=20), st.integers(1, 9), st.integers(1, 12))
def test_any_keys(keys: list[int], others: list[int], part: int, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "PART", part)
        patch.setattr(key_index, "CHUNK", chunk)
        index, again = build_index(np.array(keys, np.int64))
    rows: dict[int, int] = {}
    twice = [row for row, key in enumerate(keys) if rows.setdefault(key, row) != row]
    assert again == min(twice, default=-1)
    if not twice:
        wanted = np.array(keys + others + [-(2**63), 2**63 - 1], np.int64)
        found, where = index.find(wanted)
        assert found.tolist() == [int(key) in rows for key in wanted]
        assert where.tolist() == [rows[int(key)] for key in wanted[found]]


def test_keys_that_crowd() -> None:
    # All but one in the first slot: more halvings than the index does itself.
    keys = np.concatenate([np.random.default_rng(0).permutation(20_000), [2**62]])
    index, again = build_index(keys)
    found, rows = index.find(np.array([2**62, 5, 20_000]))
    assert again == -1
    assert found.tolist() == [True, True, False]
    assert rows.tolist() == [20_000, int(np.flatnonzero(keys == 5)[0])]


def test_in_files_and_in_several_parts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(key_index, "PART", 100)
    keys = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 5000)
    index, again = build_index(keys, in_folder(tmp_path))
    assert again == -1
    assert isinstance(index.keys, np.memmap)
    np.testing.assert_array_equal(index.keys, np.sort(keys))
    np.testing.assert_array_equal(keys[index.order], index.keys)
