"""A table in which no row has an item is refused before anything is trained or measured on it.

The attack: an item id column that is all null, or empty texts, of every type it can have, for training
and for evaluation, with a sampler and with the negatives of the batch alone. Before, training went on,
on nothing.
"""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small import make_small
from tzrec.config import load_pipeline
from tzrec.datasets.build import build_loader
from tzrec.datasets.candidates import InBatch
from tzrec.features.build import build_features
from tzrec.models.build import tower_features
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World

EMPTY = {
    "integers": pa.nulls(50, pa.int64()),
    "texts": pa.nulls(50, pa.string()),
    "dictionary": pa.nulls(50, pa.dictionary(pa.int32(), pa.string())),
    "empty texts": pa.array([""] * 50),
    "lists": pa.nulls(50, pa.list_(pa.int64())),
    "lists of nothing": pa.array([[]] * 50, pa.list_(pa.int64())),
    "floats that are none": pa.array([float("nan")] * 50),
    "no type": pa.nulls(50),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("small"), rows=50)


def build(small, ids: pa.Array, sampled: bool, evaluation: bool = False):
    """A loader for a table with these ids, of which the item tower reads the word alone."""
    table = pa.concat_tables([pq.read_table(path) for path in sorted((small.root / "train").glob("*"))])
    path = small.root / "ids.parquet"
    pq.write_table(table.set_column(table.column_names.index("item_id"), "item_id", ids), path)
    text = small.config.read_text().replace(
        'feature_names: ["item_id", "cate"]', 'feature_names: ["cate"]'
    ).replace('attr_fields: ["item_id", "cate"]', 'attr_fields: ["x", "cate"]')  # fmt: skip
    (small.root / "b.config").write_text(text)
    pipeline = load_pipeline(str(small.root / "b.config")).message
    data, in_batch = pipeline.data_config, InBatch()
    if not sampled:
        data.ClearField("negative_sampler")
        data.item_id_field, in_batch = "item_id", InBatch(negatives=True, mask_twins=True)
    layout = tower_features(pipeline, build_features(pipeline.feature_configs, data)).layout
    return build_loader(data, layout, World(), str(path), evaluation=evaluation, in_batch=in_batch)


# The pool has integers; other types beside it are refused for their type.
@pytest.mark.parametrize(
    ("kind", "sampled"),
    [("integers", True), ("lists", True), ("lists of nothing", True), *((kind, False) for kind in EMPTY)],
)
def test_item_ids_that_are_all_null(small, kind: str, sampled: bool) -> None:
    for evaluation in (False, True):
        with pytest.raises(UserError) as error:
            build(small, EMPTY[kind], sampled, evaluation)
        line = str(error.value)
        assert line.startswith("eval_input_path: " if evaluation else "train_input_path: ")
        assert 'not one of 50 rows has an item: the ids in column "item_id" are all null' in line
        assert "item_id_field" in line


def test_one_item_is_enough(small) -> None:
    ids = pa.array([None] * 49 + [3], pa.int64())
    assert build(small, ids, True).steps == 1
