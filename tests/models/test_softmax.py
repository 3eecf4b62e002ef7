"""The loss and recall@k by hand."""

import math

import pytest
import torch

from tzrec.models.softmax import Logits, in_batch_logits, positive_places, sampled_logits, softmax_loss

LOGITS = Logits(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 0.0], [2.0, -1.0]]))


def test_scores_against_the_own_item_and_the_shared_negatives() -> None:
    user_BD = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    item_MD = torch.tensor([[3.0, 1.0], [1.0, 1.0], [2.0, 5.0]])
    logits = sampled_logits(user_BD, item_MD, temperature=0.5)
    assert logits.positive.tolist() == [6.0, 4.0]
    assert logits.negatives.tolist() == [[4.0], [20.0]]


def test_in_batch_the_other_rows_are_the_negatives() -> None:
    logits = in_batch_logits(torch.eye(2), torch.tensor([[3.0, 1.0], [5.0, 7.0]]), temperature=1.0)
    assert logits.positive.tolist() == [3.0, 7.0]
    assert logits.negatives.tolist() == [[-math.inf, 5.0], [1.0, -math.inf]]


def test_loss_by_hand() -> None:
    total, weight = softmax_loss(LOGITS)
    first = math.log(math.e + 2) - 1
    second = math.log(1 + math.exp(2) + math.exp(-1))
    assert total.item() == pytest.approx(first + second, rel=1e-6)
    assert weight.item() == 2
    total, weight = softmax_loss(LOGITS, torch.tensor([2.0, 0.5]))
    assert total.item() == pytest.approx(2 * first + 0.5 * second, rel=1e-6)
    assert weight.item() == 2.5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs_cross_entropy(smoothing: float) -> None:
    torch.manual_seed(0)
    positive, negatives = torch.randn(7), torch.randn(7, 5)
    together = torch.cat([positive[:, None], negatives], dim=1)
    expected = torch.nn.functional.cross_entropy(
        together, torch.zeros(7, dtype=torch.long), label_smoothing=smoothing, reduction="sum"
    )
    total, _ = softmax_loss(Logits(positive, negatives), label_smoothing=smoothing)
    torch.testing.assert_close(total, expected)


def test_an_empty_batch_has_loss_zero() -> None:
    total, weight = softmax_loss(Logits(torch.zeros(0), torch.zeros(0, 3)))
    assert (total.item(), weight.item()) == (0.0, 0.0)


def test_the_place_of_the_positive_counts_ties_against_it() -> None:
    assert positive_places(LOGITS).tolist() == [1, 2]
    tied = Logits(torch.tensor([1.0]), torch.tensor([[1.0, 0.0, 2.0]]))
    assert positive_places(tied).tolist() == [3]
    broken = Logits(torch.tensor([math.nan]), torch.tensor([[1.0]]))
    assert positive_places(broken).tolist() == [2]
    alone = Logits(torch.tensor([-5.0]), torch.full((1, 3), float("-inf")))
    assert positive_places(alone).tolist() == [1]
