"""An item that is the positive's under another number ties with it, and a tie counts against the positive.

The attack: copies of the positive among the negatives. A positive is scored by a sum of products, a
negative by a matrix product, and half of the copies came out below by a rounding.
"""

import pytest
import torch

from tests.small import Small
from tzrec.config import prepare
from tzrec.datasets.batch import Candidates
from tzrec.datasets.build import build_loader
from tzrec.features.build import build_features
from tzrec.models.build import build_model, tower_features
from tzrec.models.softmax import candidate_logits, positive_places
from tzrec.models.ties import candidate_keys, row_keys
from tzrec.runtime.world import World


def test_keys_are_alike_for_the_same_numbers_only() -> None:
    torch.manual_seed(0)
    x_MF = torch.randn(1000, 7)
    assert len(set(row_keys(x_MF).tolist())) == 1000
    torch.testing.assert_close(
        row_keys(x_MF[torch.arange(1000) // 2]), row_keys(x_MF)[torch.arange(1000) // 2]
    )
    assert len(set(row_keys(torch.tensor([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0]])).tolist())) == 2
    # Not even the last bit may be overlooked, nor two changes cancel.
    near_MF = torch.nextafter(x_MF, torch.tensor(9.0))
    assert not set(row_keys(near_MF).tolist()) & set(row_keys(x_MF).tolist())
    grid_MF = torch.cartesian_prod(torch.arange(40.0), torch.arange(40.0))
    assert len(set(row_keys(grid_MF).tolist())) == 1600


@pytest.mark.parametrize("scale", [1.0, 1e-4, 37.0])
@pytest.mark.parametrize("width", [8, 33, 64])
def test_copies_of_the_positive_tie(width: int, scale: float) -> None:
    """64 rows; every one has its item 3 times among the shared negatives and once among its hard ones.

    Rows 0 and 1 have one item. Item 5 of the shared does not stand against row 0, although it is its own.
    """
    torch.manual_seed(1)
    user_BD = torch.nn.functional.normalize(torch.randn(64, width), dim=1) * scale
    own_BD = torch.nn.functional.normalize(torch.randn(64, width), dim=1)
    own_BD[1] = own_BD[0]
    shared_ND = torch.cat([own_BD[torch.arange(64).roll(i)] for i in (5, 21, 40)])
    item_MD = torch.cat([own_BD, shared_ND, own_BD])
    candidates = Candidates(
        shared=192,
        masked=torch.tensor([[0], [5]]),
        hard=torch.stack([torch.arange(64), torch.ones(64, dtype=torch.long)]),
        hard_width=2,
    )
    logits = candidate_logits(user_BD, item_MD, candidates, temperature=0.07, in_batch=True)
    keys = candidate_keys(item_MD, item_MD, candidates, in_batch=True)
    exact_BK = (user_BD.double() / 0.07) @ torch.cat([own_BD, shared_ND]).double().T
    positive_B = exact_BK.diagonal()
    same_BK = torch.cat([torch.arange(64).roll(i) for i in (0, 5, 21, 40)])[None] == torch.arange(64)[:, None]
    same_BK[:2] |= same_BK[:2].flip(0)
    above_BK = (exact_BK > positive_B[:, None]) & ~same_BK | same_BK
    above_BK[torch.arange(64), torch.arange(64)] = False
    above_BK[0, 64 + 5] = False
    expected = 1 + above_BK.sum(dim=1) + 1
    assert positive_places(logits._replace(keys=keys)).tolist() == expected.tolist()
    assert positive_places(logits).tolist() != expected.tolist()


def test_what_is_corrected_otherwise_is_another_item() -> None:
    item_MD = torch.ones(3, 4)
    candidates = Candidates(shared=2, log_q=torch.tensor([0.5, 0.5, 0.75]))
    keys = candidate_keys(item_MD, item_MD, candidates, in_batch=False)
    assert keys.same(slice(0, 1), 0).tolist() == [[True, False]]


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("in_batch", [False, True])
def test_equal_items_of_a_model_tie(small: Small, precision: torch.dtype | None, in_batch: bool) -> None:
    """All items of a batch are one item, through the towers: no positive is ahead of any candidate."""
    pipeline = prepare(str(small.config)).message
    pipeline.model_config.dssm.in_batch_negative = in_batch
    towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
    torch.manual_seed(2)
    model = build_model(pipeline, towers).eval()
    for tower in (model.user_tower, model.item_tower):
        tower.precision = precision
    loader = build_loader(pipeline.data_config, towers.layout, World(), pipeline.eval_input_path, True)
    for batch in loader.batches(stop=2):
        for place, ids in batch.ids.items():
            if place != "user":
                ids.values[:] = 1
        with torch.no_grad():
            _, logits = model(batch)
        negatives = 32 + (batch.rows - 1 if in_batch else 0)
        assert positive_places(logits).tolist() == [1 + negatives] * batch.rows
        assert model.train()(batch)[1].keys is None
        model.eval()
