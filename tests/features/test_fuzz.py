"""Random and mutated input: the loader and the features answer or raise UserError, nothing else, and never hang."""

# ruff: noqa: E501 (configurations)

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import every_feature
from tests.features.support import build, plain
from tzrec.config import load_pipeline, validate
from tzrec.config.expression import FUNCTIONS, parse
from tzrec.config.normalizer import parse_normalizer
from tzrec.features.expression import ELEMENTWISE, OVER_ROWS, Ragged, evaluate
from tzrec.features.graph import columns_of, compute_all
from tzrec.features.similarity import METHODS, Overlap
from tzrec.runtime.errors import UserError

CALM = settings(
    deadline=2000,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(alphabet=st.sampled_from("ab:;,|^.-e01\x1d \x00_é中"), max_size=12)
LEAF = {
    "text": (TEXT, pa.string()),
    "integer": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "float": (st.floats(width=32), pa.float32()),
    "bool": (st.booleans(), pa.bool_()),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.Array:
    """A column of any type of the contract, with nulls."""
    values, kind = LEAF[draw(st.sampled_from(sorted(LEAF)))]
    shape = draw(st.sampled_from(["flat", "list", "lists", "map"]))
    values = st.none() | values
    if shape == "list":
        values, kind = st.none() | st.lists(values, max_size=3), pa.list_(kind)
    elif shape == "lists":
        values = st.none() | st.lists(st.none() | st.lists(values, max_size=2), max_size=3)
        kind = pa.list_(pa.list_(kind))
    elif shape == "map":
        values = st.none() | st.dictionaries(TEXT, values, max_size=3).map(lambda one: list(one.items()))
        kind = pa.map_(pa.string(), kind)
    return pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory):
    tokenizer = every_feature.write_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer.json")
    return build(
        *every_feature.plain_blocks(tokenizer).values(),
        *every_feature.sequence_blocks(tokenizer).values(),
        every_feature.group_block(tokenizer),
    )


@CALM
@given(data=st.data())
def test_features_of_any_columns(features, data: st.DataObject) -> None:
    feature = data.draw(st.sampled_from(list(features.values())))
    rows = data.draw(st.integers(0, 4))
    given_columns = {name: data.draw(columns(rows), name) for name in columns_of([feature])}
    try:
        computed = compute_all([feature], given_columns)[feature.name]
    except UserError:
        return
    assert len(plain(computed)) == rows
    assert np.isfinite(computed.values).all()


@CALM
@given(text=st.text(alphabet=st.sampled_from("ab12.()+-*/^?:<>=|&,_ei \n#é"), max_size=25))
def test_expressions_of_any_text(text: str) -> None:
    try:
        tree = parse(text, ["a", "b"])
    except UserError:
        return
    one = Ragged(np.array([1.0, 2.0]), np.ones(2, np.int32))
    assert len(evaluate(tree, {"a": one, "b": one}, 2).lengths) == 2


@pytest.mark.parametrize(
    "text",
    [
        "-" * 5000 + "a",
        "a" + "^a" * 5000,
        "a?" * 3000 + "a" + ":a" * 3000,
        "(" * 10_000 + "a" + ")" * 10_000,
        "(" * 10_000 + "a" + "+1)" * 10_000,
        "a+(" * 10_000 + "a" + ")" * 10_000,
        "abs(" * 10_000 + "a" + ")" * 10_000,
    ],
)
def test_deep_expressions_end(text: str) -> None:
    with pytest.raises(UserError, match="nested more than 64 deep"):
        parse(text, ["a"])


@pytest.mark.parametrize("terms", [66, 3000])
def test_a_flat_sum_is_not_nested(terms: int) -> None:
    """A sum of 66 terms was refused as nested more than 64 deep."""
    one = Ragged(np.array([1.0, 3.0]), np.ones(2, np.int32))
    plus = evaluate(parse(" + ".join(["a"] * terms), ["a"]), {"a": one}, 2)
    assert plus.flat.tolist() == [terms, 3 * terms]
    # From left to right: ((16 / a) * 2 - a) + ..., not 16 / (a * 2).
    mixed = evaluate(parse("16 / a * 2 - a" + " + a - a" * terms, ["a"]), {"a": one}, 2)
    assert mixed.flat.tolist() == pytest.approx([31, 16 / 3 * 2 - 3])
    chained = evaluate(parse("a > 1 && " * terms + "1 || 0", ["a"]), {"a": one}, 2)
    assert chained.flat.tolist() == [0, 1]


@CALM
@given(text=st.text(max_size=20) | st.sampled_from(["method=", "method=zscore,", "method=expression,expr="]))
def test_normalizers_of_any_text(text: str) -> None:
    with contextlib.suppress(UserError):
        parse_normalizer(text)


def test_every_function_is_computed() -> None:
    operators = {
        "||",
        "&&",
        "|",
        "&",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "^",
        "negate",
        "choose",
    }
    assert {*ELEMENTWISE, *OVER_ROWS, "rnd"} - operators == set(FUNCTIONS)


@CALM
@given(data=st.data())
def test_mutated_configurations(tmp_path: Path, data: st.DataObject) -> None:
    text = seed_text()
    kind = data.draw(st.sampled_from(["cut", "drop", "twice", "swap", "noise"]))
    i = data.draw(st.integers(0, len(text) - 1))
    j = data.draw(st.integers(i, min(i + 40, len(text))))
    if kind == "cut":
        text = text[:i]
    elif kind == "drop":
        text = text[:i] + text[j:]
    elif kind == "twice":
        text = text[:j] + text[i:j] + text[j:]
    elif kind == "swap":
        k = data.draw(st.integers(0, len(text) - 1))
        text = text[:i] + text[k : k + 20] + text[j:]
    else:
        text = text[:i] + data.draw(st.text(max_size=5)) + text[j:]
    path = tmp_path / "a.config"
    path.write_text(text, encoding="utf-8", errors="surrogatepass" if text.isprintable() else "ignore")
    with contextlib.suppress(UserError):
        validate(load_pipeline(str(path)), for_training=True)


def seed_text() -> str:
    blocks = [*every_feature.plain_blocks(Path("t.json")).values(), every_feature.group_block(Path("t.json"))]
    features = "\n".join(f"feature_configs {{ {block} }}" for block in blocks)
    return f"""
train_input_path: "a" eval_input_path: "b" model_dir: "c"
train_config {{ sparse_optimizer {{ adagrad_optimizer {{ lr: 0.1 }} }} dense_optimizer {{ adam_optimizer {{ lr: 0.1 }} }} num_steps: 3 }}
data_config {{ batch_size: 5 dataset_type: CsvDataset fg_mode: FG_DAG input_fields {{ input_name: "word" input_type: STRING }} }}
{features}
model_config {{
  feature_groups {{ group_name: "user" feature_names: ["p_id_feature"] group_type: DEEP
    sequence_groups {{ group_name: "s" feature_names: ["hist__id_feature"] }}
    sequence_encoders {{ pooling_encoder {{ input: "s" }} }} }}
  feature_groups {{ group_name: "item" feature_names: ["p_raw_feature"] group_type: DEEP }}
  dssm {{ user_tower {{ input: "user" }} item_tower {{ input: "item" }} output_dim: 4 in_batch_negative: true }}
  losses {{ softmax_cross_entropy {{}} }}
}}
"""


def test_the_seed_of_the_mutations_is_good(tmp_path: Path) -> None:
    (tmp_path / "a.config").write_text(seed_text())
    validate(load_pipeline(str(tmp_path / "a.config")), for_training=True)


# The same by plain loops, a row at a time.
def slow_overlap(method: str, query: list[str], title: list[str]) -> float:
    runs = [i for i in range(len(title) - len(query) + 1) if title[i : i + len(query)] == query]
    spots = [i for i, term in enumerate(title) if term in query]
    gaps = [j - i for i in spots for j in spots if i < j and title[i] != title[j]]
    windows = [
        j - i
        for i in range(len(title))
        for j in range(i + 1, len(title) + 1)
        if set(query) <= set(title[i:j])
    ]
    none = len(title) + 1.0
    return {
        "query_common_ratio": sum(term in title for term in query) / len(query),
        "title_common_ratio": sum(term in query for term in title) / len(title),
        "is_contain": float(bool(runs)),
        "is_equal": float(query == title),
        "index_of": float(runs[0]) if runs else -1.0,
        "proximity_min_cover": float(min(windows, default=0)),
        "proximity_min_dist": float(min(gaps, default=none)),
        "proximity_max_dist": float(max(gaps, default=none)),
        "proximity_avg_dist": sum(gaps) / len(gaps) if gaps else none,
    }[method]


TERMS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=7)


@CALM
@given(
    pairs=st.lists(st.tuples(TERMS, TERMS), min_size=1, max_size=6), method=st.sampled_from(sorted(METHODS))
)
def test_overlap_is_what_plain_loops_give(pairs: list[tuple[list[str], list[str]]], method: str) -> None:
    columns_of_pairs = [pa.array([" ".join(pair[side]) for pair in pairs]) for side in (0, 1)]
    rows = Overlap(" ", method)(columns_of_pairs, "f")
    expected = [slow_overlap(method, *pair) for pair in pairs]
    np.testing.assert_allclose(rows.flat.to_numpy(), expected)
