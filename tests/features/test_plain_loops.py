"""Every operator gives what plain loops give, a row at a time, over random columns."""

# ruff: noqa: E501 (configurations)

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.support import build, plain
from tzrec.features.combine import COMBINERS
from tzrec.features.cross import BoolMask, Combo
from tzrec.features.graph import compute_all
from tzrec.features.maps import Lookup, Match
from tzrec.features.plain import Weighted
from tzrec.features.similarity import KvDot
from tzrec.features.values import Rows

FEW = settings(deadline=None, max_examples=60)
WORD = st.sampled_from(["a", "b", "c", "d", ""])
WORDS = st.none() | st.lists(st.none() | WORD, max_size=4)
NUMBER = st.integers(-40, 40).map(lambda n: n / 4)


def column(rows: list) -> pa.Array:
    return pa.array(rows, pa.list_(pa.string()))


def kept(row: list | None) -> list:
    return [each for each in row or [] if each not in (None, "")]


def rows_of(made: Rows) -> list[list]:
    ends = np.cumsum(made.lengths).tolist()
    flat = made.flat.to_pylist()
    assert len(flat) == (ends[-1] if ends else 0)
    return [flat[end - n : end] for end, n in zip(ends, made.lengths.tolist(), strict=True)]


def several(*each: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(st.tuples(*each), min_size=1, max_size=5)


@FEW
@given(rows=several(WORDS, WORDS, WORDS))
def test_combo(rows: list) -> None:
    made = Combo("\x1d")([column(list(each)) for each in zip(*rows, strict=True)], "f")
    assert rows_of(made) == [["_".join(each) for each in itertools.product(*map(kept, row))] for row in rows]


@FEW
@given(rows=st.lists(st.lists(st.tuples(WORD, st.none() | NUMBER), max_size=4), min_size=1, max_size=5))
def test_weighted_ids(rows: list) -> None:
    texts = [[key if weight is None else f"{key}:{weight}" for key, weight in row] for row in rows]
    made = Weighted("\x1d")([pa.array(["\x1d".join(row) for row in texts])], "f")
    expected = [[(key, 1.0 if weight is None else weight) for key, weight in row if key] for row in rows]
    assert rows_of(made) == [[key for key, _ in row] for row in expected]
    assert made.weights is not None
    assert made.weights.tolist() == [weight for row in expected for _, weight in row]


@FEW
@given(rows=several(st.lists(st.tuples(WORD, WORD), max_size=4), st.lists(st.tuples(WORD, WORD), max_size=4)))
def test_dot_products(rows: list) -> None:
    """Numbers are the letters' places; an element without a number counts 1."""
    figures = dict(zip("abcd", (0.5, 2.0, -1.0, 3.0), strict=True))

    def text(pairs: list) -> str:
        return "|".join(key + (f":{figures[value]}" if value else "") for key, value in pairs)

    def number(value: str) -> float:
        return figures[value] if value else 1.0

    columns = [pa.array([text(row[side]) for row in rows]) for side in (0, 1)]
    expected = []
    for row in rows:
        left, right = ([(key, number(value)) for key, value in side if key] for side in row)
        products = [x * y for (key, x), (other, y) in itertools.product(left, right) if key == other]
        expected.append([sum(products)] if left and right else [])
    assert rows_of(KvDot("|")(columns, "f")) == [pytest.approx(each) for each in expected]


MAP = st.none() | st.lists(st.tuples(st.sampled_from("abcd"), NUMBER), max_size=4)


def combined(numbers: list[float], combiner: str) -> list[float]:
    gaps = [y - x for x, y in itertools.pairwise(sorted(numbers))]
    if not (gaps if combiner.startswith("gap") else numbers):
        return []
    return [
        {
            "sum": lambda: sum(numbers),
            "mean": lambda: sum(numbers) / len(numbers),
            "avg": lambda: sum(numbers) / len(numbers),
            "min": lambda: min(numbers),
            "max": lambda: max(numbers),
            "count": lambda: float(len(numbers)),
            "gap_min": lambda: min(gaps),
            "gap_max": lambda: max(gaps),
        }[combiner]()
    ]


@FEW
@given(rows=several(MAP, WORDS), combiner=st.sampled_from(sorted(COMBINERS)), discrete=st.booleans())
def test_lookups(rows: list, combiner: str, discrete: bool) -> None:
    maps = pa.array(
        [None if row is None else "\x1d".join(f"{k}:{v}" for k, v in row) for row, _ in rows], pa.string()
    )
    operator = Lookup("\x1d", discrete, False, combiner, 1, ",")
    made = rows_of(operator([maps, column([keys for _, keys in rows])], "f"))
    for (entries, keys), got in zip(rows, made, strict=True):
        first = dict(reversed(entries or []))
        found = [first[key] for key in kept(keys) if key in first]
        assert got == (
            [str(each) for each in found] if discrete else pytest.approx(combined(found, combiner))
        )


NESTED = st.none() | st.dictionaries(st.sampled_from("pqr"), st.dictionaries(st.sampled_from("stu"), NUMBER, min_size=1, max_size=3), max_size=3)  # fmt: skip


@FEW
@given(rows=several(NESTED, st.sampled_from("pqx"), st.sampled_from("stx")), wild=st.tuples(st.booleans(), st.booleans()), shown=st.booleans())  # fmt: skip
def test_matches(rows: list, wild: tuple[bool, bool], shown: bool) -> None:
    def text(nested: dict | None) -> str | None:
        if nested is None:
            return None
        inner = ({p: ",".join(f"{s}:{v}" for s, v in each.items())} for p, each in nested.items())
        return "|".join(f"{p}^{each}" for one in inner for p, each in one.items())

    columns = [
        pa.array([text(row[0]) for row in rows], pa.string()),
        *(pa.array([row[n] for row in rows]) for n in (1, 2)),
    ]
    made = rows_of(Match("\x1d", *wild, shown, shown, shown)(columns, "f"))
    for (nested, first, second), got in zip(rows, made, strict=True):
        found = [
            (p, s, value)
            for p, each in (nested or {}).items()
            for s, value in each.items()
            if (wild[0] or p == first) and (wild[1] or s == second)
        ]
        if shown:
            assert got == [f"{p}_{s}_{value}" for p, s, value in found]
        else:
            assert got == pytest.approx(combined([value for *_, value in found], "sum"))


@FEW
@given(rows=st.lists(st.lists(st.tuples(st.none() | WORD, st.sampled_from([None, "", "1", "0", "true", "False"])), max_size=4), min_size=1, max_size=5))  # fmt: skip
def test_masks(rows: list) -> None:
    columns = [column([[pair[side] for pair in row] for row in rows]) for side in (0, 1)]
    expected = [[value for value, mark in row if value and mark in ("1", "true")] for row in rows]
    assert rows_of(BoolMask("\x1d")(columns, "f")) == expected


@FEW
@given(rows=st.lists(st.none() | st.lists(NUMBER, max_size=4), min_size=1, max_size=5), combiner=st.sampled_from(sorted(COMBINERS)), default=st.sampled_from(["", "3"]))  # fmt: skip
def test_what_is_combined_is_cut_to_its_integer_part(rows: list, combiner: str, default: str) -> None:
    """A mean of 1 and 2 was "1.5 is no integer"."""
    text = f'combine_feature {{ feature_name: "f" expression: "user:c" num_buckets: 8 embedding_dim: 4 combiner: "{combiner}" default_value: "{default}" }}'
    got = plain(compute_all([build(text)["f"]], {"c": pa.array(rows, pa.list_(pa.float64()))})["f"])
    for row, ids in zip(rows, got, strict=True):
        numbers = [math.trunc(each) for each in combined(row or [], combiner)]
        inside = [each for each in numbers if 0 <= each < 8]
        assert ids == (inside or ([3] if default else []))


@pytest.mark.parametrize("normalizer", ["", 'normalizer: "method=expression,expr=x-1"'])
def test_the_integer_part_is_that_of_the_normalized_number(normalizer: str) -> None:
    text = f'combine_feature {{ feature_name: "f" expression: "user:c" num_buckets: 8 embedding_dim: 4 combiner: "mean" default_value: "" {normalizer} }}'
    got = plain(
        compute_all([build(text)["f"]], {"c": pa.array([[1, 2], [-0.5], [4.9], [9.5], [np.nan]])})["f"]
    )
    assert got == ([[0], [], [3], [], []] if normalizer else [[1], [0], [4], [], []])


@FEW
@given(rows=st.lists(st.none() | st.lists(st.sampled_from([0.1, 0.5, 2.0, -1.0, math.nan, math.inf]), min_size=3, max_size=3), min_size=1, max_size=5), default=st.sampled_from(["", "0.5", "0.1,2,-1"]))  # fmt: skip
def test_numbers_that_belong_together_are_there_or_missing_together(rows: list, default: str) -> None:
    """A missing row of three numbers had one id, and one with a NaN in it had two."""
    text = f'raw_feature {{ feature_name: "f" expression: "user:c" value_dim: 3 separator: "," default_value: "{default}" %s }}'
    column = pa.array(rows, pa.list_(pa.float64()))
    edges = [0.2, 1.0]
    filling = [float(each) for each in default.split(",")] if default else []
    filling = filling * 3 if len(filling) == 1 else filling
    whole = [row if row and all(map(math.isfinite, row)) else filling for row in rows]
    ids = plain(compute_all([build(text % f"boundaries: {edges} embedding_dim: 4")["f"]], {"c": column})["f"])
    assert ids == [np.searchsorted(edges, row, side="right").tolist() for row in whole]
    numbers = plain(compute_all([build(text % "")["f"]], {"c": column})["f"])
    assert numbers == [pytest.approx(row or [0.0] * 3) for row in whole]
