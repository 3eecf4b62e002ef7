"""Columns to ids and numbers: the examples of the contract, and what may go wrong."""

import numpy as np
import pyarrow as pa
import pytest

from tzrec.features.build import build_features
from tzrec.features.feature import outside_lines
from tzrec.features.outputs import Dense, Sparse
from tzrec.protos import data_pb2
from tzrec.protos.data_pb2 import DataConfig
from tzrec.protos.feature_pb2 import FeatureConfig
from tzrec.runtime.errors import UserError


def make(kind: str, fg_mode: int = data_pb2.FG_DAG, **fields):
    fields = {"feature_name": "f", "expression": "user:c", **fields}
    config = FeatureConfig()
    for name, value in fields.items():
        target = getattr(config, kind)
        if isinstance(value, list):
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)
    return build_features([config], DataConfig(fg_mode=fg_mode))[0]


def ids(feature, column, name: str = "c") -> list[list[int]]:
    computed = feature.compute({name: column})
    assert isinstance(computed, Sparse)
    assert computed.values.dtype == np.int64
    assert computed.lengths.sum() == len(computed.values)
    ends = np.cumsum(computed.lengths)
    return [
        computed.values[end - length : end].tolist()
        for end, length in zip(ends, computed.lengths, strict=True)
    ]


def id_feature(**fields):
    return make("id_feature", embedding_dim=4, **fields)


@pytest.mark.parametrize(
    "text_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_the_contracts_example_of_multi_values(text_type: pa.DataType) -> None:
    column = pa.array(["1\x1d2", "", "7", None], pa.string()).cast(text_type)
    assert ids(id_feature(num_buckets=100), column) == [[1, 2], [], [7], []]


def test_lists_of_a_sliced_column_keep_values_and_offsets_together() -> None:
    column = pa.array([[9, 9, 9], [1, 2], [], None, [3]]).slice(1)
    assert ids(id_feature(num_buckets=10), column) == [[1, 2], [], [], [3]]


def test_a_null_inside_a_list_is_no_value() -> None:
    assert ids(id_feature(num_buckets=10), pa.array([[1, None, 2], [None]])) == [[1, 2], []]


def test_integers_and_nulls() -> None:
    assert ids(id_feature(num_buckets=10), pa.array([3, None, 0], pa.int32())) == [[3], [], [0]]
    assert ids(id_feature(num_buckets=10, default_value="4"), pa.array([3, None])) == [[3], [4]]


def test_ids_outside_the_buckets_are_missing_counted_and_told_once() -> None:
    feature = id_feature(num_buckets=10, default_value="1")
    column = pa.array([[5, 10], [-1], [2**40, 3, 4]])
    assert ids(feature, column) == [[5], [1], [3, 4]]
    (line,) = outside_lines([feature])
    assert "3 values outside its 10 buckets" in line
    assert "one of them: 10" in line
    assert outside_lines([feature]) == []


def test_vocabulary_numbers_from_two() -> None:
    column = pa.array(["a", "b", "zzz", None])
    assert ids(id_feature(vocab_list=["a", "b"]), column) == [[2], [3], [1], []]
    assert ids(id_feature(vocab_list=["a", "b"], default_value="x"), column) == [[2], [3], [1], [0]]
    assert id_feature(vocab_list=["a", "b"]).table.rows == 4


def test_vocabulary_with_a_value_for_the_unknown_numbers_from_zero() -> None:
    feature = id_feature(vocab_list=["a", "b"], default_bucketize_value=2)
    assert ids(feature, pa.array(["a", "b", "zzz"])) == [[0], [1], [2]]
    assert feature.table.rows == 3


def test_hashing_is_farmhash_fingerprint64_of_the_text() -> None:
    # Fingerprint64 of "" and "a", from the reference implementation's own vectors.
    import farmhash

    assert farmhash.Fingerprint64("a") == 12917804110809363939
    feature = id_feature(hash_bucket_size=1000)
    assert ids(feature, pa.array(["a", "12"])) == [
        [12917804110809363939 % 1000],
        [farmhash.Fingerprint64("12") % 1000],
    ]
    assert ids(feature, pa.array([12])) == [[farmhash.Fingerprint64("12") % 1000]]


def test_value_dim_keeps_the_first() -> None:
    assert ids(id_feature(num_buckets=10, value_dim=2), pa.array([[1, 2, 3], [4]])) == [[1, 2], [4]]


def test_fg_none_reads_encoded_ids_of_the_features_own_column() -> None:
    feature = id_feature(fg_mode=data_pb2.FG_NONE, hash_bucket_size=10, fg_encoded_default_value="7")
    assert ids(feature, pa.array(["1\x032", ""]), "f") == [[1, 2], [7]]


def test_fg_normal_reads_the_column_of_the_expression() -> None:
    feature = id_feature(fg_mode=data_pb2.FG_NORMAL, num_buckets=5)
    assert feature.source.columns == ("c",)


def test_boundaries_send_a_value_to_the_interval_above() -> None:
    raw = make("raw_feature", boundaries=[1.0, 2.0, 3.0], embedding_dim=4)
    assert ids(raw, pa.array([0.5, 1, 1.5, 9])) == [[0], [1], [1], [3]]
    raw = make("raw_feature", boundaries=[0.05, 0.15, 0.25], embedding_dim=4)
    assert ids(raw, pa.array([0.2, 0.1, 0.3, 0.05])) == [[2], [1], [3], [1]]


def test_raw_numbers() -> None:
    computed = make("raw_feature").compute({"c": pa.array([1.5, None, 2])})
    assert isinstance(computed, Dense)
    assert computed.values.dtype == np.float32
    assert computed.values.tolist() == [[1.5], [0.0], [2.0]]
    pair = make("raw_feature", value_dim=2, default_value="0.5")
    column = pa.array(["1\x1d2.5", None])
    assert pair.compute({"c": column}).values.tolist() == [[1.0, 2.5], [0.5, 0.5]]


def test_a_row_of_the_wrong_width_is_an_error() -> None:
    raw = make("raw_feature", value_dim=2)
    with pytest.raises(UserError, match=r"a row has 3 values \(1, 2.5, 3\), value_dim says 2"):
        raw.compute({"c": pa.array([[9.0, 9.0], None, [1.0, 2.5, 3.0]])})
    with pytest.raises(
        UserError, match=r"1 values \(1\), value_dim says 2; give as many \(a null or an empty"
    ):
        raw.compute({"c": pa.array([[1.0, None]])})
    with pytest.raises(UserError, match=r"9 values \(0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\)"):
        raw.compute({"c": pa.array([list(range(9))])})
    sequence = make("sequence_raw_feature", value_dim=2, sequence_delim=";", separator=",")
    with pytest.raises(UserError, match=r"an element has 3 values \(3, 4, 5\), value_dim says 2"):
        sequence.compute({"c": pa.array(["1,2;3,4,5"])})


def test_text_that_is_no_number_is_shown() -> None:
    with pytest.raises(UserError, match='feature "f", column "c": "x1" is not an integer'):
        id_feature(num_buckets=10).compute({"c": pa.array(["1", "x1"])})
    with pytest.raises(UserError, match='"abc" is not a number'):
        make("raw_feature").compute({"c": pa.array(["abc"])})


def test_a_default_outside_the_buckets_is_an_error() -> None:
    with pytest.raises(UserError, match='"10" is outside the 10 buckets'):
        id_feature(num_buckets=10, default_value="10")


def test_an_empty_batch() -> None:
    assert ids(id_feature(num_buckets=10), pa.array([], pa.int64())) == []
    assert ids(id_feature(hash_bucket_size=10), pa.array([], pa.list_(pa.string()))) == []
    assert make("raw_feature").compute({"c": pa.array([], pa.float32())}).values.shape == (0, 1)
