"""The loss and recall@k by hand."""

import math

import pytest
import torch

from tzrec.datasets.batch import Candidates
from tzrec.models.softmax import Logits, candidate_logits, no_candidate, positive_places, softmax_loss

LOGITS = Logits(torch.tensor([1.0, 0.0]), (torch.tensor([[0.0, 0.0], [2.0, -1.0]]),))
NONE = torch.finfo(torch.float32).min


def test_scores_against_the_own_item_and_the_shared_negatives() -> None:
    user_BD = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    item_MD = torch.tensor([[3.0, 1.0], [1.0, 1.0], [2.0, 5.0]])
    logits = candidate_logits(user_BD, item_MD, Candidates(shared=1), temperature=0.5, in_batch=False)
    assert logits.positive.tolist() == [6.0, 4.0]
    assert [block.tolist() for block in logits.negatives] == [[[4.0], [20.0]]]


def test_in_batch_the_other_rows_are_the_negatives() -> None:
    item_BD = torch.tensor([[3.0, 1.0], [5.0, 7.0]])
    logits = candidate_logits(torch.eye(2), item_BD, Candidates(), temperature=1.0, in_batch=True)
    assert logits.positive.tolist() == [3.0, 7.0]
    assert [block.tolist() for block in logits.negatives] == [[[NONE, 5.0], [1.0, NONE]]]


def test_mixed_with_masks_and_hard_negatives() -> None:
    # Rows 0 and 2 have the same item; row 1 may not have the second shared negative; row 2 has
    # two hard negatives, row 0 has one, row 1 none.
    user_BD = torch.tensor([[1.0], [2.0], [3.0]])
    item_MD = torch.tensor([[1.0], [2.0], [1.0], [10.0], [20.0], [5.0], [6.0], [7.0]])
    candidates = Candidates(
        shared=2,
        masked=torch.tensor([[1], [1]]),
        twins=torch.tensor([[0, 2], [2, 0]]),
        hard=torch.tensor([[0, 2, 2], [0, 0, 1]]),
        hard_width=3,
    )
    logits = candidate_logits(user_BD, item_MD, candidates, temperature=1.0, in_batch=True)
    in_batch, shared, hard = (block.tolist() for block in logits.negatives)
    assert logits.positive.tolist() == [1.0, 4.0, 3.0]
    assert in_batch == [[NONE, 2.0, NONE], [2.0, NONE, 2.0], [NONE, 6.0, NONE]]
    assert shared == [[10.0, 20.0], [20.0, NONE], [30.0, 60.0]]
    assert hard == [[5.0, NONE, NONE], [NONE, NONE, NONE], [18.0, 21.0, NONE]]


def test_the_correction_is_taken_from_every_score() -> None:
    user_BD, item_MD = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    log_q = torch.tensor([0.5, 0.25, -1.0, 2.0])
    candidates = Candidates(shared=1, hard=torch.tensor([[1], [0]]), hard_width=1, log_q=log_q)
    logits = candidate_logits(user_BD, item_MD, candidates, temperature=1.0, in_batch=True)
    assert logits.positive.tolist() == [0.5, 3.75]
    assert [block.tolist() for block in logits.negatives] == [
        [[NONE, 1.75], [1.5, NONE]],
        [[4.0], [7.0]],
        [[NONE], [6.0]],
    ]


def test_a_row_without_any_candidate_has_loss_and_gradient_zero() -> None:
    user_BD = torch.ones(1, 2, requires_grad=True)
    candidates = Candidates(hard=torch.zeros(2, 0, dtype=torch.long), hard_width=2)
    logits = candidate_logits(user_BD, torch.ones(1, 2), candidates, temperature=1.0, in_batch=True)
    total, _ = softmax_loss(logits)
    total.backward()
    assert total.item() == 0.0
    assert user_BD.grad is not None
    assert user_BD.grad.tolist() == [[0.0, 0.0]]
    assert positive_places(logits).tolist() == [1]


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
@pytest.mark.parametrize("absent", [False, True])
def test_loss_is_torchs_cross_entropy(smoothing: float, absent: bool) -> None:
    torch.manual_seed(0)
    positive, shared, hard = torch.randn(7), torch.randn(7, 5), torch.randn(7, 1)
    together = torch.cat([positive[:, None], shared, hard], dim=1)
    if absent:
        hard = torch.full((7, 1), no_candidate(hard))
        together = together[:, :-1]
    expected = torch.nn.functional.cross_entropy(
        together, torch.zeros(7, dtype=torch.long), label_smoothing=smoothing, reduction="sum"
    )
    total, _ = softmax_loss(Logits(positive, (shared, hard)), label_smoothing=smoothing)
    torch.testing.assert_close(total, expected)


def test_an_empty_batch_has_loss_zero() -> None:
    total, weight = softmax_loss(Logits(torch.zeros(0), (torch.zeros(0, 3),)))
    assert (total.item(), weight.item()) == (0.0, 0.0)


def test_the_place_of_the_positive_counts_ties_against_it() -> None:
    assert positive_places(LOGITS).tolist() == [1, 2]
    tied = Logits(torch.tensor([1.0]), (torch.tensor([[1.0, 0.0, 2.0]]),))
    assert positive_places(tied).tolist() == [3]
    broken = Logits(torch.tensor([math.nan]), (torch.tensor([[1.0]]),))
    assert positive_places(broken).tolist() == [2]
    alone = Logits(torch.tensor([-5.0]), (torch.full((1, 3), NONE),))
    assert positive_places(alone).tolist() == [1]
    blocks = Logits(torch.tensor([1.0]), (torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0]])))
    assert positive_places(blocks).tolist() == [3]
