"""Every feature type on the examples of docs/features.md, worked by hand."""

# ruff: noqa: E501 (tables of configurations and results)

import farmhash
import numpy as np
import pyarrow as pa
import pytest

from tests.features.support import arrays, build, compute, plain
from tzrec.features.feature import outside_lines
from tzrec.features.graph import columns_of, compute_all
from tzrec.features.outputs import Sparse
from tzrec.protos import data_pb2
from tzrec.runtime.errors import UserError

F = 'feature_name: "f"'
ID = f"{F} embedding_dim: 4"
GIVEN = 'vocab_list: ["a_x", "a_y", "b_x", "b_y"]'
NESTED = "pk1^sk1:0.2,sk2:0.3|pk2^sk4:0.1"
PAIRS = pa.map_(pa.string(), pa.float64())


def hashed(*texts: str) -> list[int]:
    return [farmhash.Fingerprint64(text) % 1000 for text in texts]


def test_weighted_ids() -> None:
    text = f'id_feature {{ {ID} expression: "user:c" num_buckets: 10 weighted: true default_value: "5" }}'
    feature = build(text)["f"]
    for column in (
        pa.array(["1:0.5\x1d2:2", None, "3", "99:4\x1d4:1"]),
        pa.array([["1:0.5", "2:2"], [], ["3"], ["99:4", "4:1"]]),
    ):
        got = feature.compute({"c": column})
        assert isinstance(got, Sparse)
        assert plain(got) == [[1, 2], [5], [3], [4]]
        assert got.weights is not None
        assert got.weights.tolist() == [0.5, 2, 1, 1, 1]
    column = pa.array([[(1, 0.5), (2, 2.0)], None, [(3, 1.0)]], pa.map_(pa.int64(), pa.float32()))
    assert plain(feature.compute({"c": column})) == [[1, 2], [5], [3]]
    assert plain(feature.compute({"c": column.slice(1)})) == [[5], [3]]


def test_vocabularies(tmp_path) -> None:
    column = {"c": ["a", "b", "zzz", None]}
    fixed = f'id_feature {{ {ID} expression: "user:c" '
    words = 'vocab_dict { key: "a" value: 5 } vocab_dict { key: "b" value: 2 } '
    assert compute(fixed + words + "}", column) == [[5], [2], [1], []]
    assert compute(fixed + words + 'default_value: "q" }', column) == [[5], [2], [1], [0]]
    assert compute(fixed + words + "default_bucketize_value: 7 }", column) == [[5], [2], [7], []]
    assert build(fixed + words + "default_bucketize_value: 7 }")["f"].table.rows == 8
    path = tmp_path / "words.txt"
    path.write_text("a\nb\n")
    file = f'vocab_file: "{path}" default_bucketize_value: 2 '
    assert compute(fixed + file + "}", column) == [[0], [1], [2], []]
    assert compute(fixed + file + 'default_value: "b" }', column) == [[0], [1], [2], [1]]
    path.write_text("a\t4\nb\t0\n")
    assert compute(fixed + file + "}", column) == [[4], [0], [2], []]
    beside = f'vocab_file: "words.txt" asset_dir: "{tmp_path}" default_bucketize_value: 2 '
    assert compute(fixed + beside + "}", column) == [[4], [0], [2], []]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a\n\nb\n", 2, "no word"),
        ("a\nb\na\n", 3, '"a" stands there twice'),
        ("a\t1\nb\n", 2, "every line"),
        ("a\t1\nb\tx\n", 2, '"x" is no id'),
        ("a\t-1\n", 1, '"-1" is no id'),
    ],
)
def test_a_bad_line_of_a_vocabulary(tmp_path, text: str, line: int, what: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"words\.txt:{line}: {what}"):
        build(f'id_feature {{ {ID} expression: "user:c" vocab_file: "{path}" default_bucketize_value: 0 }}')


def test_a_vocabulary_that_cannot_be_read(tmp_path) -> None:
    config = f'id_feature {{ {ID} expression: "user:c" default_bucketize_value: 0 vocab_file: "%s" }}'
    with pytest.raises(UserError, match=r'feature "f": vocab_file .*nothing: No such file'):
        build(config % (tmp_path / "nothing"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        build(config % (tmp_path / "bytes"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(UserError, match="empty"):
        build(config % (tmp_path / "empty"))


def test_the_type_of_values_decides_their_text() -> None:
    fixed = f'id_feature {{ {ID} expression: "user:c" hash_bucket_size: 1000 '
    assert compute(fixed + 'fg_value_type: "int64" }', {"c": ["007", "7"]}) == [hashed("7"), hashed("7")]
    assert compute(fixed + "}", {"c": ["007", "7"]}) == [hashed("007"), hashed("7")]
    assert compute(fixed + 'fg_value_type: "float" }', {"c": ["0.50"]}) == [hashed("0.5")]


@pytest.mark.parametrize(
    ("normalizer", "values", "expected"),
    [
        ("method=log10,threshold=1e-10,default=-10", [100.0, 0.0, 1e-12], [2.0, -10.0, -10.0]),
        ("method=log10", [1000.0, 0.0], [3.0, -10.0]),
        ("method=zscore,mean=1.0,standard_deviation=10.0", [11.0, 1.0], [1.0, 0.0]),
        ("method=minmax,min=2.1,max=2.2", [2.1, 2.2, 2.3], [0.0, 1.0, 2.0]),
        ("method=expression,expr=sign(x)", [-3.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        ("method=expression,expr=x > 1 ? x : 1", [-3.0, 2.0], [1.0, 2.0]),
    ],
)
def test_normalizers(normalizer: str, values: list[float], expected: list[float]) -> None:
    got = compute(f'raw_feature {{ {F} expression: "user:c" normalizer: "{normalizer}" }}', {"c": values})
    np.testing.assert_allclose(np.ravel(got), expected, atol=1e-5)


def test_a_default_stands_behind_the_normalizer_and_an_empty_one_is_zero() -> None:
    fixed = (
        f'raw_feature {{ {F} expression: "user:c" normalizer: "method=zscore,mean=1,standard_deviation=2" '
    )
    assert compute(fixed + "}", {"c": [None, 3.0]}) == [[0.0], [1.0]]
    assert compute(fixed + 'default_value: "7" }', {"c": [None, 3.0]}) == [[7.0], [1.0]]
    assert compute(fixed + 'default_value: "" }', {"c": [None, 3.0]}) == [[0.0], [1.0]]


def test_boundaries_are_of_the_normalized_number() -> None:
    text = f'raw_feature {{ {F} expression: "user:c" normalizer: "method=log10" boundaries: [1, 2] embedding_dim: 4 }}'
    assert compute(text, {"c": [1.0, 10.0, 1000.0]}) == [[0], [1], [2]]


def test_combo() -> None:
    text = f'combo_feature {{ {ID} expression: ["user:a", "item:b"] {GIVEN} }}'
    columns = {"a": ["a\x1db", "a", None], "b": ["x\x1dy", "y", "x"]}
    assert compute(text, columns) == [[2, 3, 4, 5], [3], []]
    assert compute(text.replace("} ", ""), columns) == [[2, 3, 4, 5], [3], []]
    assert compute(text[:-1] + "value_dim: 3 }", columns) == [[2, 3, 4], [3], []]


def test_combo_of_numbers_and_a_constant() -> None:
    text = f'combo_feature {{ {ID} expression: ["user:a", "const:x", "user:b"] hash_bucket_size: 1000 }}'
    assert compute(text, {"a": [1, 2], "b": [[3, 4], [5]]}) == [hashed("1_x_3", "1_x_4"), hashed("2_x_5")]


@pytest.mark.parametrize(
    "column",
    [["k1:1\x1dk2:2", None, "k3:7"], pa.array([[("k1", 1.0), ("k2", 2.0)], None, [("k3", 7.0)]], PAIRS)],
)
def test_lookup_of_numbers(column) -> None:
    columns = {"m": column, "k": ["k1\x1dk2", "k1", "k1"]}
    fixed = f'lookup_feature {{ {F} map: "user:m" key: "item:k" '
    assert compute(fixed + "}", columns) == [[3.0], [0.0], [0.0]]
    assert compute(fixed + 'combiner: "mean" }', columns) == [[1.5], [0.0], [0.0]]
    assert compute(fixed + 'combiner: "max" default_value: "9" }', columns) == [[2.0], [9.0], [9.0]]
    assert compute(fixed + "boundaries: [1, 2.5] embedding_dim: 4 }", columns) == [[2], [0], [0]]


@pytest.mark.parametrize("column", [pa.array([None, 1.0]), pa.array([None, [1, 2]])])
def test_a_number_is_no_map(column) -> None:
    """The attack: a column of numbers for the map; every key found nothing in it, in silence."""
    feature = 'lookup_feature { feature_name: "f" map: "user:m" key: "item:k" }'
    with pytest.raises(UserError, match=r'column "m", "k": a map column of type .*; give Arrow maps'):
        compute(feature, {"m": column, "k": ["a", "b"]})
    assert compute(feature, {"m": pa.nulls(2, pa.int64()), "k": ["a", "b"]}) == [[0.0], [0.0]]


def test_lookup_of_several_numbers() -> None:
    text = f'lookup_feature {{ {F} map: "user:m" key: "item:k" value_dim: 2 default_value: "0" }}'
    columns = {"m": ["a:1,2\x1db:10,20"] * 3, "k": ["a", "a\x1db", "c"]}
    assert compute(text, columns) == [[1.0, 2.0], [11.0, 22.0], [0.0, 0.0]]
    with pytest.raises(UserError, match='"1" has 1 numbers, value_dim says 2'):
        compute(text, {"m": ["a:1"], "k": ["a"]})


def test_lookup_of_ids() -> None:
    columns = {"m": ["a:x\x1db:y", "a:x"], "k": ["b\x1da", "b"]}
    fixed = f'lookup_feature {{ {ID} map: "user:m" key: "item:k" default_value: "" '
    words = 'vocab_list: ["x", "y"] '
    assert compute(fixed + words + "need_discrete: true }", columns) == [[3, 2], []]
    assert compute(fixed + words + "}", columns) == [[3, 2], []]
    keyed = 'vocab_list: ["a_x", "b_y"] need_key: true }'
    assert compute(fixed + keyed, columns) == [[3, 2], []]


def test_lookup_by_numbers() -> None:
    columns = {"m": pa.array([[(1, 10), (2, 20)]], pa.map_(pa.int64(), pa.int32())), "k": [2]}
    assert compute(f'lookup_feature {{ {F} map: "user:m" key: "item:k" }}', columns) == [[20.0]]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("item:p", "item:s", 0.3), ("ALL", "item:s", 0.3), ("item:p", "ALL", 0.5), ("ALL", "ALL", 0.6)],
)
def test_match_of_numbers(first: str, second: str, expected: float) -> None:
    text = f'match_feature {{ {F} nested_map: "user:m" pkey: "{first}" skey: "{second}" }}'
    columns = {"m": [NESTED, None], "p": ["pk1", "pk1"], "s": ["sk2", "sk2"]}
    np.testing.assert_allclose(compute(text, columns), [[expected], [0.0]], rtol=1e-6)


def test_match_of_ids() -> None:
    columns = {"m": [NESTED, None], "p": ["pk1", "pk1"], "s": ["sk2", "sk2"]}
    fixed = f'match_feature {{ {ID} nested_map: "user:m" pkey: "item:p" skey: "item:s" default_value: "" hash_bucket_size: 1000 '
    assert compute(fixed + "need_discrete: true }", columns) == [hashed("0.3"), []]
    assert compute(fixed + "show_pkey: true }", columns) == [hashed("pk1_0.3"), []]
    assert compute(fixed + "show_skey: true show_pkey: true }", columns) == [hashed("pk1_sk2_0.3"), []]


def test_match_in_an_arrow_map() -> None:
    column = pa.array([[("pk1", "sk1:0.2,sk2:0.3"), ("pk2", "sk4:0.1")]], pa.map_(pa.string(), pa.string()))
    text = f'match_feature {{ {F} nested_map: "user:m" pkey: "item:p" skey: "item:s" }}'
    np.testing.assert_allclose(compute(text, {"m": column, "p": ["pk2"], "s": ["sk4"]}), [[0.1]])


@pytest.mark.parametrize(
    ("query", "document", "expected"),
    [("a:0.5|b:0.5", "d:0.5|b:0.5", 0.25), (["a", "b", "c"], ["a", "b", "d"], 2.0), (["a"], ["b"], 0.0)],
)
def test_kv_dot_product(query, document, expected: float) -> None:
    text = f'kv_dot_product {{ {F} query: "user:q" document: "item:d" separator: "|" }}'
    assert compute(text, {"q": [query, None], "d": [document, document]}) == [[expected], [0.0]]


def test_kv_dot_product_with_a_map() -> None:
    text = f'kv_dot_product {{ {F} query: "user:q" document: "item:d" }}'
    column = pa.array([[("a", 0.5), ("b", 0.5)]], PAIRS)
    assert compute(text, {"q": [["a", "b", "c"]], "d": column}) == [[1.0]]


@pytest.mark.parametrize(
    ("values", "mask", "expected"),
    [
        ("123,456,90,80", "true,false,true,false", [123, 90]),
        ([1, 2, 3, 4], [1, 0, 1, 0], [1, 3]),
        ([1, 2], [True, False], [1]),
        (None, [1], []),
        ([1, 2], None, []),
        ("1,,3", "true,false,true", [1, 3]),
        ("1,2,3", "true,,true", [1, 3]),
        ("1,,3", "false,true,true", [3]),
        ([1, None, 3], [0, 1, 1], [3]),
        ([1, 2, 3], [None, 1, 0], [2]),
        (["1", None, "3"], [None, "true", "1"], [3]),
        ([1, 2, 3], [1.0, float("nan"), 0.5], [1, 3]),
        (7, True, [7]),
    ],
)
def test_bool_mask(values, mask, expected: list[int]) -> None:
    text = f'bool_mask_feature {{ {ID} expression: ["user:v", "user:m"] num_buckets: 500 separator: "," }}'
    assert compute(text, {"v": [values], "m": [mask]}) == [expected]


def test_bool_mask_refusals() -> None:
    text = f'bool_mask_feature {{ {ID} expression: ["user:v", "user:m"] num_buckets: 500 separator: "," }}'
    with pytest.raises(UserError, match="2 values and 3 marks"):
        compute(text, {"v": ["1,2"], "m": ["true,false,true"]})
    # As many after their nulls are dropped, but not side by side.
    with pytest.raises(UserError, match="3 values and 2 marks"):
        compute(text, {"v": [[1, None, 3]], "m": [[1, 0]]})
    with pytest.raises(UserError, match='"maybe" is no mark'):
        compute(text, {"v": ["1,2"], "m": ["true,maybe"]})


@pytest.mark.parametrize(
    ("combiner", "expected"),
    [
        ("sum", 17.0),
        ("mean", 17 / 3),
        ("avg", 17 / 3),
        ("min", 2.0),
        ("max", 10.0),
        ("count", 3.0),
        ("gap_min", 3.0),
        ("gap_max", 5.0),
    ],
)
def test_combiners(combiner: str, expected: float) -> None:
    text = f'combine_feature {{ {F} expression: "user:c" combiner: "{combiner}" default_value: "-1" }}'
    got = compute(text, {"c": ["10\x1d2\x1d5", None, "2\x1d5\x1d10"]})
    np.testing.assert_allclose(got, [[expected], [-1.0], [expected]], rtol=1e-6)


def test_combine_through_a_map() -> None:
    words = 'value_map { key: "low" value: 1 } value_map { key: "high" value: 10 } '
    fixed = f'combine_feature {{ {F} expression: "user:c" {words} '
    columns = {"c": ["low\x1dhigh\x1dwhat", "what", "high"]}
    assert compute(fixed + "}", columns) == [[11.0], [0.0], [10.0]]
    assert compute(fixed + "num_buckets: 12 embedding_dim: 4 }", columns) == [[11], [], [10]]
    assert compute(fixed + "boundaries: [5] embedding_dim: 4 }", columns) == [[1], [], [1]]
    assert compute(fixed + 'normalizer: "method=log10" }', columns)[2] == [1.0]


def test_a_row_of_one_number_has_no_gap() -> None:
    text = f'combine_feature {{ {F} expression: "user:c" combiner: "gap_max" default_value: "-1" }}'
    assert compute(text, {"c": ["4", "4\x1d9"]}) == [[-1.0], [5.0]]


QUERY_TITLE = [
    # query, title, and for each method what it gives.
    ("a b", "x a b y", (1.0, 0.5, 1.0, 0.0, 1.0, 2.0, 1.0, 1.0, 1.0)),
    ("b a", "x a b y", (1.0, 0.5, 0.0, 0.0, -1.0, 2.0, 1.0, 1.0, 1.0)),
    ("a b", "a b", (1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0)),
    ("a q", "x a b y", (0.5, 0.25, 0.0, 0.0, -1.0, 0.0, 5.0, 5.0, 5.0)),
    ("q r", "x a", (0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 3.0, 3.0, 3.0)),
    ("a b", "a x b x x a", (1.0, 0.5, 0.0, 0.0, -1.0, 3.0, 2.0, 3.0, 2.5)),
]
METHODS = [
    "query_common_ratio",
    "title_common_ratio",
    "is_contain",
    "is_equal",
    "index_of",
    "proximity_min_cover",
    "proximity_min_dist",
    "proximity_max_dist",
    "proximity_avg_dist",
]


@pytest.mark.parametrize("method", METHODS)
def test_overlap(method: str) -> None:
    text = f'overlap_feature {{ {F} query: "user:q" title: "item:t" method: "{method}" separator: " " }}'
    columns = {"q": [row[0] for row in QUERY_TITLE], "t": [row[1] for row in QUERY_TITLE]}
    expected = [[row[2][METHODS.index(method)]] for row in QUERY_TITLE]
    assert compute(text, columns) == expected
    # Each row alone gives what it gives among others.
    for query, title, want in QUERY_TITLE:
        assert compute(text, {"q": [query], "t": [title]}) == [[want[METHODS.index(method)]]]
    assert compute(text, {"q": [None, "a"], "t": ["a", ""]}) == [[0.0], [0.0]]


def test_expr() -> None:
    fixed = f'expr_feature {{ {F} variables: ["user:a", "item:b"] expression: '
    assert compute(fixed + '"a + 2 * b" }', {"a": [1, 2], "b": ["3", "4"]}) == [[7.0], [10.0]]
    assert compute(
        fixed + '"a > b ? a : b" boundaries: [2] embedding_dim: 4 }', {"a": [1, 2], "b": [0, 5]}
    ) == [[0], [1]]
    vectors = {"a": [[1.0, 2.0], [3.0, 4.0]], "b": [[1.0, 1.0], [0.0, 2.0]]}
    assert compute(fixed + '"dot(a, b)" }', vectors) == [[3.0], [8.0]]
    assert compute(fixed + '"a * b" value_dim: 2 }', vectors) == [[1.0, 2.0], [0.0, 8.0]]
    assert compute(fixed + '"a * b" value_dim: 2 }', {"a": [2, 3], "b": vectors["b"]}) == [
        [2.0, 2.0],
        [0.0, 6.0],
    ]


def test_one_number_goes_with_several_row_by_row() -> None:
    text = f'expr_feature {{ {F} variables: ["user:a", "item:b"] expression: "sum(len(a + b), a) * 0 + a + b" value_dim: 2 }}'
    columns = {"a": [[1, 2], [3], [4, 5]], "b": [[10], [20, 30], [40, 50]]}
    assert compute(text, columns) == [[11.0, 12.0], [23.0, 33.0], [44.0, 55.0]]


def test_expr_with_something_missing() -> None:
    fixed = f'expr_feature {{ {F} variables: ["user:a", "item:b"] expression: "a + b" '
    columns = {"a": [1, None], "b": [1, 1]}
    assert compute(fixed + 'default_value: "-3" }', columns) == [[2.0], [-3.0]]
    assert compute(fixed + "fill_missing: 10 }", columns) == [[2.0], [11.0]]


def test_what_is_not_finite_is_missing_and_told() -> None:
    feature = build(f'expr_feature {{ {F} variables: "user:a" expression: "log(a)" default_value: "-7" }}')[
        "f"
    ]
    assert plain(feature.compute(arrays({"a": [0.0, 1.0]}))) == [[-7.0], [0.0]]
    (line,) = outside_lines([feature])
    assert "1 values not finite" in line


@pytest.mark.parametrize(
    ("normalizer", "value"),
    [
        ("method=expression,expr=1/x", 0.0),
        ("method=expression,expr=log(x)", 0.0),
        ("method=expression,expr=log(x)", -1.0),
        ("method=zscore,mean=0,standard_deviation=1", 1e300),
        ("method=minmax,min=-1e308,max=1", 1.7e308),
    ],
)
def test_what_a_normalizer_makes_not_finite_is_missing_and_told(normalizer: str, value: float) -> None:
    text = f'raw_feature {{ {F} expression: "user:c" value_dim: 2 default_value: "1" normalizer: "{normalizer}" }}'
    feature = build(text)["f"]
    got = feature.compute(arrays({"c": [[1.0, value], None, [1.0, 1.0]]})).values
    assert np.isfinite(got).all()
    assert got[0].tolist() == got[1].tolist() == [1.0, 1.0]
    (line,) = outside_lines([feature])
    assert f"1 values not finite were taken as missing (one of them: {value})" in line


def test_a_default_of_which_a_normalizer_makes_no_number_is_zero() -> None:
    text = f'raw_feature {{ {F} expression: "user:c" normalizer: "method=expression,expr=log(x)" %s }}'
    assert compute(text % "", {"c": [0.0, 1.0, None]}) == [[0.0], [0.0], [0.0]]
    with pytest.raises(UserError, match=r'default_value: "nan" is not finite; give'):
        build(f'raw_feature {{ {F} expression: "user:c" default_value: "nan" }}')
    assert compute(text % 'default_value: ""', {"c": [0.0, 1.0]}) == [[0.0], [0.0]]


def test_a_number_beyond_float32_is_missing_in_any_type() -> None:
    for column in (pa.array(["1e39", "1"]), pa.array([1e39, 1.0])):
        feature = build(f'raw_feature {{ {F} expression: "user:c" default_value: "5" }}')["f"]
        assert plain(feature.compute({"c": column})) == [[5.0], [1.0]]
        assert "1 values not finite" in outside_lines([feature])[0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["3:nan\x1d1:2", "4:inf", "1:1e39"]),
        pa.array([[(3, np.nan), (1, 2.0)], [(4, -np.inf)], [(1, 1e39)]], pa.map_(pa.int64(), pa.float64())),
    ],
)
def test_an_id_whose_weight_is_not_finite_is_missing_and_told(column: pa.Array) -> None:
    text = f'id_feature {{ {ID} expression: "user:c" num_buckets: 10 weighted: true default_value: "5" }}'
    feature = build(text)["f"]
    got = feature.compute({"c": column})
    assert plain(got) == [[1], [5], [5]]
    assert got.weights.tolist() == [2.0, 1.0, 1.0]
    (line,) = outside_lines([feature])
    assert "3 values" in line
    assert "(one of them: 3:nan)" in line


def test_what_is_not_finite_has_no_interval() -> None:
    raw = (
        f'raw_feature {{ {F} expression: "user:c" boundaries: [1, 2] embedding_dim: 4 default_value: "" %s }}'
    )
    feature = build(raw % "")["f"]
    for column in (
        pa.array([np.nan, np.inf, -np.inf, 1.5, 9.0]),
        pa.array(["nan", "inf", "-inf", "1.5", "9"]),
    ):
        assert plain(feature.compute({"c": column})) == [[], [], [], [1], [2]]
        assert "3 values" in outside_lines([feature])[0]
    feature = build(raw % 'normalizer: "method=expression,expr=log(x)"')["f"]
    assert plain(feature.compute({"c": pa.array([-1.0, 0.0, 1.0])})) == [[], [], [0]]
    assert "2 values" in outside_lines([feature])[0]
    text = f'expr_feature {{ {F} variables: "user:a" expression: "a / a" boundaries: [1, 2] embedding_dim: 4 default_value: "" }}'
    feature = build(text)["f"]
    assert plain(feature.compute(arrays({"a": [0.0, 1.0]}))) == [[], [1]]
    assert "1 values" in outside_lines([feature])[0]


WHOLE = [7, 0, -3, 10**10, 12345678901, 2**53 - 1]


@pytest.mark.parametrize(
    "text",
    [
        f'id_feature {{ {ID} expression: "user:c" hash_bucket_size: 1000 }}',
        f'id_feature {{ {ID} expression: "user:c" hash_bucket_size: 1000 fg_value_type: "string" }}',
        f'id_feature {{ {ID} expression: "user:c" vocab_list: ["10000000000", "12345678901"] }}',
        f'lookup_feature {{ {F} map: "const:10000000000:3" key: "user:c" default_value: "-1" }}',
        f'combo_feature {{ {ID} expression: ["user:c", "const:x"] hash_bucket_size: 1000 }}',
        f'combine_feature {{ {F} expression: "user:c" value_map {{ key: "10000000000" value: 3 }} }}',
    ],
)
def test_whole_floats_are_the_same_ids_as_integers(text: str) -> None:
    of_integers = compute(text, {"c": pa.array(WHOLE, pa.int64())})
    assert len({str(each) for each in of_integers}) > 1
    assert compute(text, {"c": pa.array(WHOLE, pa.float64())}) == of_integers
    lists = pa.array([[each] for each in WHOLE])
    assert compute(text, {"c": lists.cast(pa.list_(pa.float64()))}) == of_integers


def test_the_default_of_a_feature_of_floats_keeps_them_as_ids() -> None:
    features = (
        f'id_feature {{ {ID} expression: "feature:g" hash_bucket_size: 1000 }}',
        'id_feature { feature_name: "g" embedding_dim: 4 expression: "user:c" hash_bucket_size: 9 default_value: "3" stub_type: true }',
    )
    for kind in (pa.int64(), pa.float64()):
        computed = compute_all([build(*features)["f"]], {"c": pa.array([10**10, None], kind)})
        assert plain(computed["f"]) == [hashed("10000000000"), hashed("3")]


@pytest.mark.parametrize(
    ("kind", "column", "expected"),
    [
        ("int32", pa.array([2**32 + 7, 7, -(2**31)]), ["7", str(-(2**31))]),
        ("int32", pa.array(["4294967303", "7"]), ["7"]),
        ("int32", pa.array([4294967296.0, 7.0]), ["7"]),
        ("int32", pa.array([np.nan, 7.0]), ["7"]),
        ("int64", pa.array([1e300, 7.0]), ["7"]),
        ("int64", pa.array([2**63 + 7, 7], pa.uint64()), ["7"]),
        ("float", pa.array(["1e39", "0.5"]), ["0.5"]),
        ("double", pa.array([np.inf, 0.5]), ["0.5"]),
    ],
)
def test_a_number_beyond_its_type_is_missing_and_told(
    kind: str, column: pa.Array, expected: list[str]
) -> None:
    text = f'id_feature {{ {ID} expression: "user:c" hash_bucket_size: 1000 fg_value_type: "{kind}" }}'
    feature = build(text)["f"]
    got = [row for row in plain(feature.compute({"c": column})) if row]
    assert got == [hashed(each) for each in expected]
    (line,) = outside_lines([feature])
    assert f"{len(column) - len(expected)} values" in line
    assert "one of them: " in line


def test_hexadecimal_text_is_no_integer() -> None:
    for kind in ("", 'fg_value_type: "int64"'):
        text = f'id_feature {{ {ID} expression: "user:c" num_buckets: 100 {kind} }}'
        for bad in ("0x10", " 0XA"):
            with pytest.raises(UserError, match=f'"{bad.strip()}" is not an integer'):
                compute(text, {"c": ["1", "-2", bad]})


def test_a_feature_reads_another() -> None:
    features = build(
        f'combo_feature {{ {ID} expression: ["feature:level", "const:c"] hash_bucket_size: 1000 }}',
        'expr_feature { feature_name: "level" variables: ["user:a", "feature:base"] expression: "a + base" stub_type: true }',
        'raw_feature { feature_name: "base" expression: "user:b" default_value: "5" stub_type: true }',
    )
    computed = compute_all([features["f"]], arrays({"a": [1, 2], "b": [1.0, None]}))
    assert list(computed) == ["f"]
    assert plain(computed["f"]) == [hashed("2_c"), hashed("7_c")]
    assert sorted(columns_of([features["f"]])) == ["a", "b"]


def test_a_feature_reads_the_default_of_another() -> None:
    features = build(
        f'id_feature {{ {ID} expression: "feature:g" num_buckets: 10 }}',
        'id_feature { feature_name: "g" embedding_dim: 4 expression: "user:c" num_buckets: 5 default_value: "3" stub_type: true }',
    )
    assert plain(compute_all([features["f"]], arrays({"c": [1, None, 9]}))["f"]) == [[1], [3], [9]]


def test_a_feature_reads_what_another_has_normalized() -> None:
    features = build(
        'raw_feature { feature_name: "f" expression: "feature:g" }',
        'raw_feature { feature_name: "g" expression: "user:c" default_value: "100" normalizer: "method=log10" boundaries: [1] embedding_dim: 4 }',
    )
    computed = compute_all(list(features.values()), arrays({"c": [1000, None]}))
    assert plain(computed["f"]) == [[3.0], [100.0]]
    assert plain(computed["g"]) == [[1], [1]]


def test_boundaries_of_any_number_of_values() -> None:
    text = f'raw_feature {{ {F} expression: "user:c" value_dim: 0 boundaries: [1, 2] embedding_dim: 4 }}'
    assert compute(text, {"c": [[0.5, 3.0], [1.5], []]}) == [[0, 2], [1], [0]]


def test_the_type_of_values_counts_in_bucketize_mode() -> None:
    text = f'id_feature {{ {ID} expression: "user:c" hash_bucket_size: 1000 fg_value_type: "int64" }}'
    assert compute(text, {"f": ["007"]}, data_pb2.FG_BUCKETIZE) == [hashed("7")]


def test_a_circle_is_shown() -> None:
    one = 'id_feature { feature_name: "%s" embedding_dim: 4 expression: "feature:%s" num_buckets: 5 }'
    with pytest.raises(UserError, match="in a circle: b -> c -> b"):
        build(one % ("a", "b"), one % ("b", "c"), one % ("c", "b"))


@pytest.mark.parametrize("fg_mode", [data_pb2.FG_NONE, data_pb2.FG_BUCKETIZE])
def test_encoded_columns_of_any_type(fg_mode: int) -> None:
    encoded = fg_mode == data_pb2.FG_NONE
    combo = f'combo_feature {{ {ID} expression: ["user:a", "item:b"] vocab_list: ["x", "y"] }}'
    assert compute(combo, {"f": ["3" if encoded else "y", ""]}, fg_mode) == [[3], []]
    overlap = f'overlap_feature {{ {F} query: "user:a" title: "item:b" method: "is_equal" normalizer: "method=zscore,mean=9,standard_deviation=9" }}'
    assert compute(overlap, {"f": [0.25, None]}, fg_mode) == [[0.25], [0.0]]
    lookup = f'lookup_feature {{ {ID} map: "user:a" key: "item:b" boundaries: [1, 2] }}'
    assert compute(lookup, {"f": [2, None]}, fg_mode) == [[2], [] if encoded else [0]]
