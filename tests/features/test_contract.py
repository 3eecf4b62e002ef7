"""What every feature type keeps to, alone, in a sequence of its own and in a group."""

import numpy as np
import pyarrow as pa
import pytest

from tests import every_feature
from tests.features.support import build, plain
from tzrec.features.feature import Feature
from tzrec.features.graph import columns_of, compute_all
from tzrec.features.outputs import DenseSequence, SparseSequence

KINDS = list(every_feature.FIELDS)
NAMES = [f"p_{k}" for k in KINDS] + [f"s_{k}" for k in KINDS] + [f"{every_feature.GROUP}__{k}" for k in KINDS]
ROWS = 60


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Feature]:
    tokenizer = every_feature.write_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer.json")
    return build(
        *every_feature.plain_blocks(tokenizer).values(),
        *every_feature.sequence_blocks(tokenizer).values(),
        every_feature.group_block(tokenizer),
    )


@pytest.fixture(scope="module")
def columns() -> dict[str, pa.Array]:
    table = every_feature.table(ROWS)
    return {name: table[name].combine_chunks() for name in table.column_names}


def compute(feature: Feature, columns: dict[str, pa.Array]) -> list:
    return plain(compute_all([feature], columns)[feature.name])


def rounded(rows: list) -> list:
    return [np.round(row, 4).tolist() if row and isinstance(row[0], float) else row for row in rows]


def test_no_type_is_left_out() -> None:
    from tzrec.protos.feature_pb2 import FeatureConfig

    names = {field.name for field in FeatureConfig.DESCRIPTOR.fields} - {"sequence_feature"}
    assert names == {*KINDS, *(f"sequence_{kind}" for kind in KINDS)}


@pytest.mark.parametrize("name", NAMES)
def test_every_row_alone_is_what_it_is_among_others(name: str, features, columns) -> None:
    feature = features[name]
    whole = compute(feature, columns)
    assert len(whole) == ROWS
    assert any(whole)
    assert len({str(row) for row in whole}) > 1
    alone = [compute(feature, {n: c.slice(i, 1) for n, c in columns.items()})[0] for i in range(ROWS)]
    assert rounded(alone) == rounded(whole)


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_and_nothing_but_nulls(name: str, features, columns) -> None:
    feature = features[name]
    assert compute(feature, {n: c.slice(0, 0) for n, c in columns.items()}) == []
    nulls = {n: pa.nulls(3, c.type) for n, c in columns.items()}
    rows = compute(feature, nulls)
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]
    # A column without any value has the type null in a file.
    assert compute(feature, {n: pa.nulls(3) for n in columns}) == rows


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["large", "dictionary", "sliced"])
def test_the_arrow_type_of_a_column_does_not_matter(name: str, form: str, features, columns) -> None:
    feature = features[name]
    other = {n: changed(c, form) for n, c in columns.items()}
    assert compute(feature, other) == compute(feature, columns)


def changed(column: pa.Array, form: str) -> pa.Array:
    if form == "sliced":
        return pa.concat_arrays([column.slice(3, 2), column, column.slice(0, 1)]).slice(2, len(column))
    if pa.types.is_list(column.type):
        inner = column.type.value_type
        inner = pa.large_string() if pa.types.is_string(inner) else inner
        return column.cast(pa.large_list(inner)) if form == "large" else column
    if form == "large":
        return column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
    return column.dictionary_encode()


@pytest.mark.parametrize("name", NAMES)
def test_lengths_of_a_sequence(name: str, features, columns) -> None:
    feature = features[name]
    computed = compute_all([feature], columns)[name]
    assert isinstance(computed, DenseSequence | SparseSequence) == feature.is_sequence
    if isinstance(computed, DenseSequence | SparseSequence):
        whole = [len(row) for row in columns["seq_price"].to_pylist()]
        assert computed.lengths.tolist() == [min(max(n, 1), every_feature.LENGTH) for n in whole]


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_and_a_sequence_of_its_own_agree(kind: str, features, columns) -> None:
    own, grouped = features[f"s_{kind}"], features[f"{every_feature.GROUP}__{kind}"]
    assert compute(own, columns) == compute(grouped, columns)


def test_a_feature_names_the_columns_it_reads(features, columns) -> None:
    for feature in features.values():
        needed = columns_of([feature])
        assert set(needed) <= set(columns)
        assert compute(feature, {n: columns[n] for n in needed}) == compute(feature, columns)
