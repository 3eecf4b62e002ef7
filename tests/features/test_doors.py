"""One value comes in by many doors and is the same id, or the same error, behind each.

The attack: the same ids as text, as numbers of every type, in lists, in CSV and as attributes of a
table of negatives, text and parquet, each computed by features of several kinds. Text with several
values in a parquet pool was read otherwise as `string` than as `large_string`; NaN was an error
where infinity was missing; text beyond int64 was an error where a number beyond it was missing.
"""

# ruff: noqa: E501 (configurations)

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.support import build, plain
from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.csv import CsvTable
from tzrec.datasets.keys import keys_of_each
from tzrec.datasets.negative_parquet import items_of_batch
from tzrec.datasets.negative_text import items_of
from tzrec.features.feature import Feature, outside_lines
from tzrec.features.graph import compute_all
from tzrec.features.outputs import Sparse
from tzrec.protos import data_pb2
from tzrec.runtime.errors import UserError

ID = 'feature_name: "f" expression: "item:f" embedding_dim: 4'
SEPARATOR = {data_pb2.FG_NONE: "\x03"}
BLOCKS = {
    "num_buckets": f'id_feature {{ {ID} num_buckets: 100 default_value: "9" }}',
    "hash": f"id_feature {{ {ID} hash_bucket_size: 1000 }}",
    "vocab_list": f'id_feature {{ {ID} vocab_list: ["7", "0", "x"] }}',
    "vocab_dict": f'id_feature {{ {ID} vocab_dict {{ key: "7" value: 2 }} }}',
    "int64": f'id_feature {{ {ID} hash_bucket_size: 1000 fg_value_type: "int64" }}',
    "string": f'id_feature {{ {ID} hash_bucket_size: 1000 fg_value_type: "string" }}',
    "weighted": f"id_feature {{ {ID} num_buckets: 100 weighted: true }}",
    "boundaries": f'raw_feature {{ {ID} value_dim: 0 boundaries: [0, 5, 7] default_value: "" }}',
    "combine": f'combine_feature {{ {ID} combiner: "mean" num_buckets: 100 default_value: "" }}',
    "combo": 'combo_feature { feature_name: "f" expression: ["item:f", "const:x"] embedding_dim: 4 hash_bucket_size: 1000 }',
    "sequence": f"sequence_id_feature {{ {ID} num_buckets: 100 sequence_length: 2 }}",
    "hashed sequence": f"sequence_id_feature {{ {ID} hash_bucket_size: 100 value_dim: 0 }}",
}
MODES = {"dag": data_pb2.FG_DAG, "bucketize": data_pb2.FG_BUCKETIZE, "none": data_pb2.FG_NONE}
FEATURES = {
    (name, mode): build(block, fg_mode=MODES[mode])["f"] for name, block in BLOCKS.items() for mode in MODES
}
TEXTS = [
    *("7", "007", "+5", " 5 ", "5.0", "1e3", "0x1F", "٣", "５", "-0", "-1", "", "nan", "NaN", "inf", "-inf"),
    *(str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1), str(10**30), "0" * 30 + "7", "x", ":2"),
    *("7\x1d0", "7\x030", "7;0", "1_0", "+", "--5", "9" * 5000),
]


def outcome(feature: Feature, column: pa.Array) -> object:
    """What a feature makes of a column, and how many values it counted as missing; or its error."""
    try:
        computed = compute_all([feature], {"f": column})["f"]
    except UserError as error:
        outside_lines([feature])
        return str(error)
    told = [line.split(" values", 1)[0] for line in outside_lines([feature])]
    return plain(computed), getattr(computed, "weights", None) is not None and computed.weights.tolist(), told


def from_csv(texts: list[str]) -> pa.Array:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text("".join(f"1,{text}\n" for text in texts), encoding="utf-8")
        table = CsvTable(str(path), types={"n": pa.int64(), "f": pa.string()})
        return pa.Table.from_batches(list(table.batches(0, table.num_rows)), table.schema)[
            "f"
        ].combine_chunks()


def from_pool(texts: list[str], kind: pa.DataType) -> pa.Array:
    block = "".join(f"{row}\t1\t{text}\n" for row, text in enumerate(texts)).encode()
    types = [AttributeType("f", kind, "\x1d")]
    return items_of(block, 2, "pool.txt", False, ("\t", "\x02"), types).attributes[0]


def from_parquet_pool(column: pa.Array, kind: pa.DataType) -> pa.Array:
    columns = {"id": np.arange(len(column)), "weight": np.ones(len(column)), "f": column}
    types = [AttributeType("f", kind, "\x1d")]
    return items_of_batch(pa.record_batch(columns), 1, "pool.parquet", "\x02", types).attributes[0]


TEXT_KINDS = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
# Doors that take any text.
TEXT_DOORS: dict[str, Callable[[list[str]], pa.Array]] = {
    **{str(kind): lambda texts, kind=kind: pa.array(texts, pa.string()).cast(kind) for kind in TEXT_KINDS},
    "csv": from_csv,
    "text pool": lambda texts: from_pool(texts, pa.string()),
    "text pool, large": lambda texts: from_pool(texts, pa.large_string()),
    **{
        f"parquet pool, {kind} to {wanted}": lambda texts, kind=kind, wanted=wanted: from_parquet_pool(
            pa.array(texts, pa.string()).cast(kind), wanted
        )
        for kind in TEXT_KINDS
        for wanted in TEXT_KINDS[:2]
    },
}


@pytest.mark.parametrize("text", TEXTS, ids=[repr(text[:9]) for text in TEXTS])
def test_text_is_the_same_through_every_door(text: str) -> None:
    columns = {name: door([text, "7"]) for name, door in TEXT_DOORS.items()}
    for (name, mode), feature in FEATURES.items():
        found = {door: outcome(feature, column) for door, column in columns.items()}
        assert len({str(each) for each in found.values()}) == 1, (name, mode, found)


@pytest.mark.parametrize("text", [text for text in TEXTS if not set(text) & set(";\x1d\x03")], ids=repr)
def test_text_in_a_list_is_that_text(text: str) -> None:
    for (name, mode), feature in FEATURES.items():
        if not feature.is_sequence:
            one = outcome(feature, pa.array([text]))
            assert outcome(feature, pa.array([[text]])) == one, (name, mode)
            assert outcome(feature, pa.array([[text]], pa.large_list(pa.large_string()))) == one, (name, mode)
            for wanted in (pa.list_(pa.string()), pa.list_(pa.large_string())):
                column = from_parquet_pool(pa.array([[text]], pa.list_(pa.string())), wanted)
                assert outcome(feature, column) == one, (name, mode)


def held(kind: pa.DataType, numbers: list[int]) -> bool:
    try:
        return pa.array(numbers).cast(kind).cast(pa.int64()).to_pylist() == numbers
    except pa.ArrowInvalid:
        return False


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
NUMBERS = [*INTEGERS, pa.float32(), pa.float64()]
SOME = st.one_of(st.integers(-3, 130), st.integers(-(2**40), 2**40), st.integers(-(2**63), 2**63 - 1))


@settings(deadline=None, max_examples=10)
@given(numbers=st.lists(SOME, min_size=1, max_size=4))
def test_an_integer_is_the_same_as_any_type_that_holds_it(numbers: list[int]) -> None:
    texts = [str(number) for number in numbers]
    columns = {"text": pa.array(texts)}
    for kind in NUMBERS:
        # A float from 2^53 on is written otherwise, for it is no longer exact.
        exact = max(map(abs, numbers)) < 2**53 or not pa.types.is_floating(kind)
        if held(kind, numbers) and exact:
            column = pa.array(numbers).cast(kind)
            columns[f"{kind}"] = column
            columns[f"list of {kind}"] = pa.array([[each] for each in numbers]).cast(pa.list_(kind))
            columns[f"dictionary of {kind}"] = column.dictionary_encode()
            columns[f"pool, {kind} to int64"] = from_parquet_pool(column, pa.int64())
            columns[f"pool, {kind} to text"] = from_parquet_pool(column, pa.string())
            columns[f"pool, text to {kind}"] = from_pool(texts, kind)
            columns[f"pool, parquet text to {kind}"] = from_parquet_pool(pa.array(texts), kind)
            lists = pa.array([[text] for text in texts])
            columns[f"pool, lists of text to {kind}"] = from_parquet_pool(lists, pa.list_(kind))
            columns[f"pool, lists of {kind} to text"] = from_parquet_pool(
                columns[f"list of {kind}"], pa.list_(pa.string())
            )
    for (name, mode), feature in FEATURES.items():
        if mode == "dag" or name == "num_buckets":
            found = {door: outcome(feature, column) for door, column in columns.items()}
            assert len({str(each) for each in found.values()}) == 1, (name, mode, found)


ODD = [np.nan, np.inf, -np.inf, 1e20, -1e20, 1e30]


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("value", ODD)
def test_a_number_that_int64_does_not_hold_is_missing_and_told(value: float, name: str) -> None:
    """NaN like infinity, and text beyond int64 like a number beyond it."""
    feature = FEATURES[name, "dag"]
    columns = [pa.array([value, 7.0], kind) for kind in (pa.float32(), pa.float64())]
    columns += [pa.array([[value], [7.0]]), pa.array([value, 7.0]).dictionary_encode()]
    columns.append(from_parquet_pool(columns[1], pa.float64()))
    if name in ("num_buckets", "int64", "weighted", "sequence"):
        # These read text as an integer.
        columns.append(pa.array([str(value) if not abs(value) < 1e300 else str(int(value)), "7"]))
    if abs(value) < 1e300 and name in (
        "hash",
        "vocab_list",
        "vocab_dict",
        "string",
        "combo",
        "hashed sequence",
        "boundaries",
    ):
        return  # A word like any other, a number like any other.
    found = [outcome(feature, column) for column in columns]
    missing = outcome(feature, pa.array([None, 7.0]))
    for each in found:
        assert each[:2] == missing[:2], (name, found)
        assert each[2] == ['feature "f": 1'], found


def test_a_missing_value_is_the_same_through_every_door() -> None:
    for feature in FEATURES.values():
        columns = [
            *(pa.array([None, "7"], kind) for kind in TEXT_KINDS[:2]),
            *(pa.array([None, 7], kind) for kind in NUMBERS),
            *(pa.array([None, [7]], pa.list_(kind)) for kind in NUMBERS),
            pa.array([[], ["7"]]),
            pa.array(["", "7"]),
            pa.array(["", "7"]).dictionary_encode(),
            from_csv(["", "7"]),
            from_pool(["", "7"], pa.string()),
            *(from_pool(["", "7"], kind) for kind in NUMBERS),
            *(from_parquet_pool(pa.array([None, "7"]), kind) for kind in (pa.string(), *NUMBERS)),
            *(from_parquet_pool(pa.array([None, 7.0]), kind) for kind in (pa.string(), *NUMBERS)),
        ]
        assert len({str(outcome(feature, column)) for column in columns}) == 1


def test_a_whole_float_below_zero_is_the_integer() -> None:
    for feature in FEATURES.values():
        assert outcome(feature, pa.array([-0.0, 7.0])) == outcome(feature, pa.array([0, 7]))


def test_several_values_in_the_text_of_a_parquet_pool_are_read_alike_as_either_text_type() -> None:
    """The separator of the feature stands between them in the training table, \\x1d in the pool."""
    feature = build(f'id_feature {{ {ID} num_buckets: 100 separator: "|" }}')["f"]
    types = [AttributeType("f", kind, "|") for kind in (pa.string(), pa.large_string())]
    for kind in types:
        for column in (pa.array(["1\x1d2", None]).cast(each) for each in TEXT_KINDS):
            batch = pa.record_batch({"id": [1, 2], "weight": [1.0, 1.0], "f": column})
            made = items_of_batch(batch, 1, "pool.parquet", "\x02", [kind]).attributes[0]
            assert made.type == kind.type
            assert plain(compute_all([feature], {"f": made})["f"]) == [[1, 2], []]


def test_a_weight_without_an_id_is_nothing() -> None:
    """ ":2" was an id: the empty text, hashed, or an error."""
    for bucketizer in ("num_buckets: 100", "hash_bucket_size: 100", 'vocab_list: ["1", "3"]'):
        feature = build(f"id_feature {{ {ID} weighted: true {bucketizer} }}")["f"]
        pairs = pa.array(
            [[("1", 2.0), ("", 2.0)], [("", 2.0)], [("3", 1.0)]], pa.map_(pa.string(), pa.float32())
        )
        for column in (pa.array(["1:2\x1d:2", ":2", "3"]), pa.array([["1:2", ":2"], [":2"], ["3"]]), pairs):
            made = compute_all([feature], {"f": column})["f"]
            assert isinstance(made, Sparse)
            assert made.lengths.tolist() == [1, 0, 1]
            assert made.weights is not None
            assert made.weights.tolist() == [2.0, 1.0]


def test_ids_of_a_batch_are_keys_through_every_door() -> None:
    whole = [7, 0, 2**53 - 1, -3]
    for text_ids in (False, True):
        wanted = keys_of_each(pa.array(whole), text_ids)[0].tolist()
        for column in (
            pa.array(whole, pa.float64()),
            pa.array(map(str, whole)),
            pa.array(whole, pa.int64()).dictionary_encode(),
        ):
            keys, places = keys_of_each(column, text_ids)
            assert (keys.tolist(), places.tolist()) == (wanted, [0, 1, 2, 3])
    odd = [None, np.nan, np.inf, 7.0]
    for text_ids in (False, True):
        assert keys_of_each(pa.array(odd), text_ids)[1].tolist() == [3]
    for texts in (["", None, str(2**63), " 7 ", "+7"], ["", None, "nan", "007", "7"]):
        keys, places = keys_of_each(pa.array(texts), False)
        assert (keys.tolist(), places.tolist()) == ([7, 7], [3, 4])
    for bad in ("0x1F", "7.0", "x"):
        with pytest.raises(UserError, match="has integer ids"):
            keys_of_each(pa.array([bad]), False)
