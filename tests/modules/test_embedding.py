"""From a batch to the towers' inputs: means, and rows that other ranks have more of."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.small import make_small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.features.build import build_features
from tzrec.features.outputs import Table
from tzrec.models.build import build_model, tower_features
from tzrec.modules.embedding import collection, module_name, table_name
from tzrec.runtime.world import World


@pytest.fixture
def made(tmp_path: Path):
    """The embeddings of a model in one process, and batches."""
    torch.manual_seed(0)
    pipeline = prepare(str(make_small(tmp_path / "small", rows=300).config)).message
    towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
    loader = build_loader(pipeline.data_config, towers.layout, World(), pipeline.train_input_path)
    return build_model(pipeline, towers).embeddings, loader


def test_empty_rows_below_change_nothing(made) -> None:
    embeddings, loader = made
    batch = next(loader.batches())
    expected = embeddings(batch)
    asked = []

    def widen(rows: int, item_rows: int) -> tuple[int, int]:
        asked.append((rows, item_rows))
        return rows + 3, item_rows + 50

    embeddings.widen = widen
    found = embeddings(batch)
    assert asked == [(batch.rows, batch.item_rows)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_means_are_sums_over_counts(made) -> None:
    """`seen` has none to two ids a row; a row without any is zeros."""
    embeddings, loader = made
    batch = next(loader.batches())
    table = embeddings.tables["item"].embedding_bags["table_items"].weight
    place = embeddings.keys["item"].index("seen")
    ids = batch.ids["item"]
    counts = ids.lengths.view(len(embeddings.keys["item"]), -1)
    begin = int(counts[:place].sum())
    expected = []
    for count in counts[place][: batch.rows].tolist():
        vectors = table[ids.values[begin : begin + count]]
        expected.append(vectors.mean(dim=0) if count else torch.zeros(8))
        begin += count
    assert set(counts[place][: batch.rows].tolist()) == {0, 1, 2}
    user, _ = embeddings(batch)
    # user_id, 8 floats; age, 1; seen, 8.
    torch.testing.assert_close(user[:, 9:17], torch.stack(expected))


def test_names_of_tables_and_modules() -> None:
    for name in ("items", "a.b", "a%b", "%2E", "table_a"):
        assert table_name(module_name(name)) == name
        assert "." not in module_name(name)


@pytest.mark.parametrize("init_fn", ["", "nn.init.constant_,val=0.25", "nn.init.orthogonal_"])
@pytest.mark.parametrize("dim", [1, 6])
def test_a_table_of_any_width_is_filled_up_with_zeros(init_fn: str, dim: int) -> None:
    """A width that is no multiple of four ended training in an AssertionError of every rank."""
    torch.manual_seed(0)
    table = Table("t", rows=50, dim=dim, init_fn=init_fn)
    lookup = SimpleNamespace(name="f", table=table)
    weight = collection("user", [lookup], torch.device("cpu")).embedding_bags["table_t"].weight  # type: ignore[list-item]
    assert weight.shape == (50, 4 if dim == 1 else 8)
    assert not weight[:, dim:].any()
    assert weight[:, :dim].count_nonzero() > 40 * dim
    if not init_fn:
        assert weight.abs().max() <= 50**-0.5
