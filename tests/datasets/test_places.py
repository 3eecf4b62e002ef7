"""A bad value is told with its file, its place there, its feature and its column; masks; row weights."""

# ruff: noqa: E501 (configurations)

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.features.support import build
from tzrec.datasets.batch import Layout, Lookup
from tzrec.datasets.build import Masking, build_loader, row_weights
from tzrec.features.feature import IdFeature
from tzrec.features.values import BadValueError
from tzrec.protos.data_pb2 import DataConfig
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World

ID = 'id_feature { feature_name: "f" expression: "user:c" num_buckets: 10 embedding_dim: 4 use_mask: true default_value: "9" }'
PAIR = 'raw_feature { feature_name: "f" expression: "user:c" value_dim: 2 }'
SEQUENCES = (
    'sequence_feature { sequence_name: "s" sequence_length: 5 sequence_delim: ";" '
    'features { raw_feature { feature_name: "a" expression: "user:a" } } '
    'features { raw_feature { feature_name: "b" expression: "user:b" } } }'
)


def loader(paths: str, *blocks: str, **fields):
    features = build(*blocks).values()
    parts = [Lookup(one, one.table) if isinstance(one, IdFeature) else one for one in features]
    data = DataConfig(fg_mode="FG_DAG", batch_size=4, **fields)
    data.dataset_type = data.dataset_type if "dataset_type" in fields else 2
    return build_loader(data, Layout.of(parts, []), World(), paths)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_place_of_a_bad_value_in_parquet(tmp_path: Path, shuffle: bool, workers: int) -> None:
    texts = [str(n % 10) for n in range(40)]
    texts[27] = "x7"
    pq.write_table(pa.table({"c": texts[:20]}), tmp_path / "a.parquet", row_group_size=6)
    pq.write_table(pa.table({"c": texts[20:]}), tmp_path / "b.parquet", row_group_size=6)
    expected = r'b\.parquet, row group 1, row 1: feature "f", column "c": "x7" is not an integer'
    with pytest.raises(UserError, match=expected):
        list(
            loader(str(tmp_path), ID, shuffle=shuffle, shuffle_buffer_size=2, num_workers=workers).batches(3)
        )


def test_the_place_of_a_bad_value_in_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("c\n" + "1\n" * 6 + "\nabc\n")
    fields = {"dataset_type": 3, "with_header": True, "input_fields_str": "c:STRING", "num_workers": 0}
    with pytest.raises(UserError, match=r'a\.csv:9: feature "f", column "c": "abc" is not an integer'):
        list(loader(str(tmp_path), ID, **fields).batches())


def test_a_list_of_the_wrong_width(tmp_path: Path) -> None:
    pq.write_table(pa.table({"c": [[1.0, 2.0]] * 5 + [[1.0, 2.0, 3.0]]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row group 0, row 5: .*3 values \(1, 2, 3\), value_dim says 2"):
        list(loader(str(tmp_path), PAIR).batches())


def test_a_null_where_none_can_be(tmp_path: Path) -> None:
    """A row may be missing; a number of a vector that is there may not."""
    pq.write_table(pa.table({"c": [[1.0, 2.0], None, [1.0, None]]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row group 0, row 2: .*1 values \(1\), value_dim .* \(a null or"):
        list(loader(str(tmp_path), PAIR).batches())


def test_sequences_of_one_group_that_differ_in_length(tmp_path: Path) -> None:
    columns = {"s__a": ["1;2"] * 6, "s__b": ["1;2"] * 5 + ["1;2;3"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match='row group 0, row 5: "s__a" has 2 elements and "s__b" has 3'):
        list(loader(str(tmp_path), SEQUENCES).batches())


def test_a_column_that_is_a_map(tmp_path: Path) -> None:
    column = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"c": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match='feature "f", column "c": a column of type map'):
        list(loader(str(tmp_path), PAIR).batches())


def test_masks_take_features_from_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"c": [3] * 4000}), tmp_path / "a.parquet")
    masked = loader(str(tmp_path), ID, sample_mask_prob=0.25, num_workers=0)
    masked.course = replace(masked.course, sizes=np.array([4000]))
    (batch,) = masked.batches()
    values = batch.ids["user"].values.numpy()
    assert set(values.tolist()) == {3, 9}
    # Four standard deviations of a share of 4000 draws.
    assert abs((values == 9).mean() - 0.25) < 0.028
    (again,) = masked.batches()
    assert np.array_equal(again.ids["user"].values.numpy(), values)


def test_masks_of_negatives_are_their_own() -> None:
    hidden = Masking(0.0, 1.0).draw(3, 5, np.random.default_rng(0))
    assert hidden.tolist() == [False, False, False, True, True]


def test_evaluation_masks_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"c": [3] * 40}), tmp_path / "a.parquet")
    (feature,) = build(ID).values()
    assert isinstance(feature, IdFeature)
    data = DataConfig(fg_mode="FG_DAG", batch_size=40, dataset_type=2, sample_mask_prob=1.0)
    layout = Layout.of([Lookup(feature, feature.table)], [])
    (batch,) = build_loader(data, layout, World(), str(tmp_path), evaluation=True).batches()
    assert set(batch.ids["user"].values.tolist()) == {3}


def test_weights_of_several_columns_are_multiplied() -> None:
    columns = {"a": pa.array([1.0, 2.0, None]), "b": pa.array([3, 4, 5])}
    assert row_weights(columns, ["a", "b"]).tolist() == [3.0, 8.0, 5.0]
    with pytest.raises(BadValueError, match=r'sample weight "a": -1\.0 is no weight'):
        row_weights({"a": pa.array([1.0, -1.0])}, ["a"])
    with pytest.raises(BadValueError, match='"much" is not a number'):
        row_weights({"a": pa.array(["1", "much"])}, ["a"])
