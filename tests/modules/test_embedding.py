"""From a batch to the towers' inputs: means, and rows that other ranks have more of."""

from pathlib import Path

import pytest
import torch

from tests.small import make_small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.features.build import build_features
from tzrec.models.build import build_model, tower_features
from tzrec.modules.embedding import module_name, table_name
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
