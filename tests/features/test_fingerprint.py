"""Fingerprints of many texts at once are those of the farmhash package."""

import farmhash
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.features import fingerprint
from tzrec.features.fingerprint import fingerprint64


def one_by_one(texts: list[str]) -> np.ndarray:
    return np.array([farmhash.Fingerprint64(text) for text in texts], np.uint64)


def test_every_length() -> None:
    generator = np.random.default_rng(0)
    texts = ["".join(map(chr, generator.integers(0, 128, length))) for length in range(301) for _ in range(3)]
    np.testing.assert_array_equal(fingerprint64(pa.array(texts)), one_by_one(texts))


@settings(deadline=None)
@given(st.lists(st.text("ab7é漢", max_size=90), max_size=20), st.integers(0, 3))
def test_any_text(texts: list[str], skipped: int) -> None:
    column = pa.array(texts, pa.string())[skipped:]
    np.testing.assert_array_equal(fingerprint64(column), one_by_one(texts[skipped:]))


def test_more_than_one_chunk(monkeypatch) -> None:
    monkeypatch.setattr(fingerprint, "CHUNK", 7)
    texts = [f"item {number}" * (number % 9) for number in range(40)]
    np.testing.assert_array_equal(fingerprint64(pa.array(texts, pa.large_string())), one_by_one(texts))
