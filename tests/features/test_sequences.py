"""Sequences: what stands for an empty one, in every mode, and which of them belong together.

The attack: a group whose columns have 12 and 10 elements, cut to 5, trained without a word on
elements that do not belong together; rows of which one column is empty.
"""

# ruff: noqa: E501 (configurations)

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.support import arrays, build, compute, plain
from tzrec.datasets.batch import Layout, Lookup, collate, serving_tensors
from tzrec.features.fingerprint import fingerprint64
from tzrec.features.graph import compute_all, in_step
from tzrec.features.outputs import SparseSequence
from tzrec.features.values import BadValueError
from tzrec.protos import data_pb2

F = 'feature_name: "f" sequence_delim: ";"'
E = "embedding_dim: 4"
COMPUTED = [data_pb2.FG_DAG, data_pb2.FG_NORMAL, data_pb2.FG_BUCKETIZE]
TEXT = ["1;2", "", "3", "4\x1d5;6", None]


def ids_of(text: str, buckets: int) -> int:
    return int(fingerprint64(pa.array([text]))[0] % np.uint64(buckets))


def one_input(text: str, values, mode: int) -> list:
    """A feature that reads one column, by whatever name the mode gives that."""
    return compute(text, {"f" if mode in (data_pb2.FG_BUCKETIZE, data_pb2.FG_NONE) else "c": values}, mode)


@pytest.mark.parametrize("mode", COMPUTED)
@pytest.mark.parametrize(
    ("block", "values", "expected"),
    [
        (f'sequence_id_feature {{ {F} {E} expression: "user:c" num_buckets: 10 value_dim: 0 }}', TEXT, [[[1], [2]], [[0]], [[3]], [[4, 5], [6]], [[0]]]),
        (f'sequence_id_feature {{ {F} {E} expression: "user:c" num_buckets: 10 default_value: "7" }}', ["1;;2", ""], [[[1], [7], [2]], [[7]]]),
        (f'sequence_id_feature {{ {F} {E} expression: "user:c" num_buckets: 10 }}', pa.array([[[]], [], None, [[1], None]], pa.list_(pa.list_(pa.int64()))), [[[0]], [[0]], [[0]], [[1], [0]]]),
        (f'sequence_id_feature {{ {F} {E} expression: "user:c" num_buckets: 10 }}', [3, None], [[[3]], [[0]]]),
        (f'sequence_id_feature {{ {F} {E} expression: "user:c" hash_bucket_size: 100 }}', ["abc\x1defg;hij", "", "hij"], [[[ids_of("abc", 100)], [ids_of("hij", 100)]], [[ids_of("0", 100)]], [[ids_of("hij", 100)]]]),
        (f'sequence_id_feature {{ {F} {E} expression: "user:c" hash_bucket_size: 100 default_value: "xyz" }}', [""], [[[ids_of("xyz", 100)]]]),
        (f'sequence_id_feature {{ feature_name: "f" sequence_delim: "|" {E} expression: "user:c" vocab_list: ["a", "b", "c"] default_value: "0" }}', ["c||a|b|b|", "", "a|b||c"], [[[4], [0], [2], [3], [3], [0]], [[0]], [[2], [3], [0], [4]]]),
        (f'sequence_raw_feature {{ {F} expression: "user:c" value_dim: 2 default_value: "" }}', ["1\x1d2;3\x1d4", ""], [[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0]]]),
        (f'sequence_raw_feature {{ {F} {E} expression: "user:c" value_dim: 2 boundaries: [0.05, 0.15, 0.25] default_value: "" }}', ["0.1\x1d1.1;0.2\x1d1.2", ""], [[[1, 3], [2, 3]], [[0, 0]]]),
        (f'sequence_combine_feature {{ {F} {E} expression: "user:c" num_buckets: 10 default_value: "" }}', ["1\x1d2;3", "4", ""] if True else [], [[[3], [3]], [[4]], [[0]]]),
    ],
)  # fmt: skip
def test_an_empty_sequence_is_its_default(block: str, values, expected: list, mode: int) -> None:
    if "combine" in block and mode == data_pb2.FG_BUCKETIZE:
        values, expected = ["3;3.9", "4", ""], [[[3], [3]], [[4]], [[0]]]
    assert one_input(block, values, mode) == expected


def test_an_empty_sequence_of_several_inputs_is_its_default() -> None:
    lookup = f'sequence_lookup_feature {{ {F} map: "user:m" key: "item:k" default_value: "0" }}'
    columns = {"m": ["ca:1,cb:2".replace(",", "\x1d")] * 3, "k": ["ca\x1dcb;ca", "cd", ""]}
    assert compute(lookup, columns) == [[[3.0], [1.0]], [[0.0]], [[0.0]]]
    combo = f'sequence_combo_feature {{ {F} {E} expression: ["user:u", "item:i"] hash_bucket_size: 100 default_value: "" }}'
    assert compute(combo, {"u": ["a"], "i": [""]}) == [[[ids_of("0", 100)]]]
    both = f'sequence_combo_feature {{ {F} {E} expression: ["item:a", "item:b"] hash_bucket_size: 100 }}'
    # An empty input is one element, and so goes with one element of the other.
    assert compute(both, {"a": ["", "x"], "b": [None, ""]}) == [[[ids_of("0", 100)]]] * 2
    with pytest.raises(BadValueError, match=r'"a" has 1 elements and "b" has 2'):
        compute(both, {"a": [""], "b": ["x;y"]})


SEQUENCE = 'sequence_feature {{ sequence_name: "s" sequence_length: {length} sequence_delim: ";" features {{ id_feature {{ feature_name: "a" {e} expression: "item:a" num_buckets: 100 {a} }} }} features {{ raw_feature {{ feature_name: "b" expression: "item:b" {b} }} }} }}'


def group(length: int, mode: int, a: str = "", b: str = ""):
    return list(build(SEQUENCE.format(length=length, e=E, a=a, b=b), fg_mode=mode).values())


@pytest.mark.parametrize("mode", [*COMPUTED, data_pb2.FG_NONE])
def test_sequences_of_one_group_are_compared_before_they_are_cut(mode: int) -> None:
    features = group(5, mode)
    long = {"s__a": pa.array(["1;2", ";".join(["1"] * 12)]), "s__b": pa.array(["1;2", ";".join(["1"] * 10)])}
    with pytest.raises(BadValueError, match=r'"s__a" has 12 elements and "s__b" has 10') as caught:
        compute_all(features, long)
    assert caught.value.row == 1
    long["s__b"] = long["s__a"]
    assert [one.lengths.tolist() for one in compute_all(features, long).values()] == [[2, 5]] * 2


def test_inputs_of_one_feature_are_compared_before_they_are_cut() -> None:
    text = f'sequence_combo_feature {{ {F} {E} sequence_length: 2 expression: ["item:a", "item:b"] hash_bucket_size: 9 }}'
    with pytest.raises(BadValueError, match=r'"a" has 4 elements and "b" has 3'):
        compute(text, {"a": ["1;2;3;4"], "b": ["1;2;3"]})


def test_sequences_of_one_sequence_group_of_the_model_are_compared_before_they_are_cut() -> None:
    block = f'sequence_id_feature {{ feature_name: "%s" sequence_length: 2 sequence_delim: ";" {E} expression: "user:%s" num_buckets: 9 }}'
    features = build(block % ("a", "a"), block % ("b", "b"))
    layout = Layout.of([Lookup(one, one.table) for one in features.values()], [], [("a", "b")])
    computed = compute_all(list(features.values()), arrays({"a": ["1;2;3"], "b": ["1;2"]}))
    with pytest.raises(BadValueError, match=r'"a" has 3 elements and "b" has 2'):
        collate(layout, computed, 1, 1)
    computed = compute_all(list(features.values()), arrays({"a": ["1;2;3"], "b": ["1;2;3"]}))
    assert collate(layout, computed, 1, 1).lengths["a"].tolist() == [2]
    assert set(serving_tensors(computed)) == {
        f"{n}.{p}" for n in "ab" for p in ("values", "key_lengths", "lengths")
    }


@pytest.mark.parametrize("mode", COMPUTED)
def test_lengths_of_a_group_are_compared_with_their_defaults(mode: int) -> None:
    features = group(5, mode)
    computed = compute_all(features, {"s__a": pa.array(["", "1"]), "s__b": pa.array([None, ""])})
    assert [plain(one) for one in computed.values()] == [[[[0]], [[1]]], [[[0.0]], [[0.0]]]]
    nested = pa.array([[[]]], pa.list_(pa.list_(pa.int64())))
    computed = compute_all(features, {"s__a": pa.array([""]), "s__b": nested})
    assert [plain(one) for one in computed.values()] == [[[[0]]], [[[0.0]]]]


def test_encoded_sequences_are_empty_but_for_a_default() -> None:
    columns = {"s__a": pa.array(["1;2", "", None]), "s__b": pa.array(["1;2", None, ""])}
    bare = compute_all(group(5, data_pb2.FG_NONE), columns)
    assert [plain(one) for one in bare.values()] == [[[[1], [2]], [], []], [[[1.0], [2.0]], [], []]]
    default = 'fg_encoded_default_value: "7"'
    one = compute_all(group(5, data_pb2.FG_NONE, a=default), columns)
    assert [plain(each) for each in one.values()] == [
        [[[1], [2]], [[7]], [[7]]],
        [[[1.0], [2.0]], [[0.0]], [[0.0]]],
    ]
    other = compute_all(group(5, data_pb2.FG_NONE, b=default), columns)
    assert [plain(each) for each in other.values()] == [
        [[[1], [2]], [[]], [[]]],
        [[[1.0], [2.0]], [[7.0]], [[7.0]]],
    ]
    # Empty beside one element is a mistake all the same, where no default says otherwise.
    wrong = {"s__a": pa.array([""]), "s__b": pa.array(["1"])}
    with pytest.raises(BadValueError, match=r'"s__a" has 0 elements and "s__b" has 1'):
        compute_all(group(5, data_pb2.FG_NONE), wrong)
    assert plain(compute_all(group(5, data_pb2.FG_NONE, a=default), wrong)["s__a"]) == [[[7]]]


SEQUENCES = st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(columns=st.lists(SEQUENCES, min_size=2, max_size=3), most=st.integers(0, 3), mode=st.sampled_from([*COMPUTED, data_pb2.FG_NONE]), defaults=st.lists(st.booleans(), min_size=3, max_size=3))  # fmt: skip
def test_sequences_that_belong_together_by_plain_loops(columns, most: int, mode: int, defaults) -> None:
    rows = min(map(len, columns))
    columns = [column[:rows] for column in columns]
    none = mode == data_pb2.FG_NONE
    blocks, given_columns, expected = [], {}, []
    for n, column in enumerate(columns):
        default = 'fg_encoded_default_value: "8"' if defaults[n] else ""
        blocks.append(
            f'sequence_id_feature {{ feature_name: "c{n}" sequence_length: {most} {E} expression: "user:c{n}" num_buckets: 10 {default if none else ""} }}'
        )
        given_columns[f"c{n}"] = pa.array(column, pa.list_(pa.int64()))
        filling = ([[8]] if defaults[n] else []) if none else [[0]]
        missing = ([8] if defaults[n] else []) if none else [0]
        expected.append(
            [[[each] if each is not None else missing for each in row] if row else filling for row in column]
        )
    wrong = None
    for row in range(rows):
        counts = [len(each[row]) for each in expected]
        if len(set(counts)) > 1 and any(column[row] for column in columns):
            wrong = row
            break
        for each in expected:
            each[row] = (each[row] or [[]] * max(counts))[: most or None]
    features = build(*blocks, fg_mode=mode)
    computed = compute_all(list(features.values()), given_columns)
    if wrong is None:
        together = in_step([list(features)], computed)
        assert all(isinstance(one, SparseSequence) for one in together.values())
        assert [plain(one) for one in together.values()] == expected
    else:
        with pytest.raises(BadValueError) as caught:
            in_step([list(features)], computed)
        assert caught.value.row == wrong
