"""What a row stands against: twins of the batch, and how often a candidate is expected."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.test_sampler import edges, pool
from tzrec.datasets.candidates import CandidateMaker, InBatch, twins
from tzrec.datasets.frequency import Frequency
from tzrec.datasets.parquet import ParquetTable
from tzrec.datasets.sampler import NegativeSampler

RNG = np.random.default_rng(0)


def test_twins_are_rows_with_an_item_in_common() -> None:
    codes, rows = np.array([7, 8, 7, 9, 7, 8]), np.array([0, 0, 1, 2, 3, 4])
    found = twins(codes, rows)
    assert (np.diff(found[0]) >= 0).all()
    pairs = set(map(tuple, found.T.tolist()))
    assert pairs == {(0, 1), (0, 3), (1, 0), (1, 3), (3, 0), (3, 1), (0, 4), (4, 0)}
    assert twins(np.array([1, 2]), np.array([0, 1])).shape == (2, 0)


def test_counts_of_a_training_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tzrec.datasets.frequency.CHUNK", 3)
    for name, items in (("a", ["x", "y", "x", None]), ("b", ["y;z", "x"])):
        pq.write_table(pa.table({"item": items}), tmp_path / f"{name}.parquet", row_group_size=2)
    table = ParquetTable(str(tmp_path))
    counted = Frequency.count(table, "item", True, "")
    assert sorted(counted.shares.tolist()) == [0.2, 0.2, 0.6]
    parts = Frequency.count(table, "item", True, ";")
    # The whole text stands beside its parts: 3 x, 2 y, 1 z, 1 "y;z".
    assert sorted(parts.shares.tolist()) == pytest.approx([1 / 7, 1 / 7, 2 / 7, 3 / 7])


def test_shares_and_what_is_unknown() -> None:
    frequency = Frequency(np.array([3, 5]), np.array([1, 3]))
    assert frequency.share(np.array([5, 3, 4])).tolist() == [0.75, 0.25, 0.25]


def test_how_often_a_candidate_is_expected(tmp_path: Path) -> None:
    # Positives: item 1 three quarters, item 2 one quarter. Pool: 0 and 1 half each, 2 of weight 0.
    frequency = Frequency(np.array([1, 2]), np.array([3, 1]))
    sampler = NegativeSampler(
        pool(tmp_path, [1.0, 1.0, 0.0, 0.0]), 8, "item", hard=edges((4, 3)), hard_count=1, user_column="user"
    )
    columns = {"item": pa.array([1, 2]), "user": pa.array([9, 4])}
    for in_batch in (False, True):
        options = InBatch(in_batch, False, True)
        maker = CandidateMaker(sampler, "item", False, "", options, frequency)
        drawn, candidates = maker(columns, 2, RNG)
        assert (drawn.shared.tolist(), drawn.hard.tolist()) == ([0] * 8, [3])
        # Item 0 was never a positive and counts as the rarest, 1/4. Items 2 and 3 cannot be drawn
        # and count as often as they are positives.
        of_pool = 8 * np.array([0.5, 0.25, *[0.5] * 8, 0.25])
        of_batch = 2 * np.array([0.75, 0.25, *[0.25] * 8, 0.25])
        expected = np.log(of_pool + of_batch * in_batch)
        assert candidates.log_q is not None
        assert candidates.log_q.numpy() == pytest.approx(expected, rel=1e-6)
        assert candidates.hard is not None
        assert (candidates.hard.tolist(), candidates.hard_width) == ([[1], [0]], 1)


def test_without_a_sampler(tmp_path: Path) -> None:
    frequency = Frequency(np.array([1, 2]), np.array([3, 1]))
    maker = CandidateMaker(None, "item", False, "", InBatch(True, True, True), frequency)
    drawn, candidates = maker({"item": pa.array([1, None, 1])}, 3, RNG)
    assert (len(drawn.rows), candidates.shared) == (0, 0)
    assert candidates.twins is not None
    assert candidates.twins.tolist() == [[0, 2], [2, 0]]
    assert candidates.log_q is not None
    assert candidates.log_q.numpy() == pytest.approx(np.log(3 * np.array([0.75, 0.25, 0.75])))
    plain = CandidateMaker(None, "", False, "", InBatch(True))
    assert vars(plain({}, 3, RNG)[1]) == vars(type(candidates)())
