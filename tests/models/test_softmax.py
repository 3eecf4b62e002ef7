"""The loss and recall@k by hand."""

import math

import pytest
import torch

from tzrec.datasets.batch import Candidates
from tzrec.models import softmax
from tzrec.models.softmax import (
    Block,
    Logits,
    candidate_logits,
    no_candidate,
    positive_places,
    softmax_loss,
)

NONE = torch.finfo(torch.float32).min


def given(positive: torch.Tensor, *blocks: torch.Tensor, hard: torch.Tensor | None = None) -> Logits:
    """Logits with these scores: a user's vector is the row, an item's one of the axes."""
    axes = torch.eye(sum(block.shape[1] for block in blocks))
    parts = axes.split([block.shape[1] for block in blocks])
    return Logits(torch.cat(blocks, dim=1), positive, tuple(Block(part) for part in parts), hard)


def all_scores(logits: Logits) -> list[list[list[float]]]:
    """The scores of each block, then of the hard negatives."""
    chunks = [scores for _, scores in logits.chunks()]
    return [torch.cat(parts).tolist() for parts in zip(*chunks, strict=True)]


LOGITS = given(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 0.0], [2.0, -1.0]]))


def test_scores_against_the_own_item_and_the_shared_negatives() -> None:
    user_BD = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    item_MD = torch.tensor([[3.0, 1.0], [1.0, 1.0], [2.0, 5.0]])
    logits = candidate_logits(user_BD, item_MD, Candidates(shared=1), temperature=0.5, in_batch=False)
    assert logits.positive.tolist() == [6.0, 4.0]
    assert all_scores(logits) == [[[4.0], [20.0]]]


def test_in_batch_the_other_rows_are_the_negatives() -> None:
    item_BD = torch.tensor([[3.0, 1.0], [5.0, 7.0]])
    logits = candidate_logits(torch.eye(2), item_BD, Candidates(), temperature=1.0, in_batch=True)
    assert logits.positive.tolist() == [3.0, 7.0]
    assert all_scores(logits) == [[[NONE, 5.0], [1.0, NONE]]]


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
    in_batch, shared, hard = all_scores(logits)
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
    assert all_scores(logits) == [
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
    total, _ = softmax_loss(given(positive, shared, hard=hard), label_smoothing=smoothing)
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_loss_and_gradients_are_those_of_the_whole_matrix(
    smoothing: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of candidate at once, against cross entropy over a matrix that is written out."""
    monkeypatch.setattr(softmax, "CHUNK", chunk)
    generator = torch.Generator().manual_seed(1)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows, shared, width = 40, 7, 3
    user_BD, item_MD = numbers(rows, 5).requires_grad_(), numbers(rows + shared + 50, 5).requires_grad_()
    of_row = torch.arange(50) % 25
    candidates = Candidates(
        shared=shared,
        masked=torch.tensor([[0, 17, 17, 39], [1, 0, 6, 3]]),
        twins=torch.tensor([[2, 30], [30, 2]]),
        hard=torch.stack([of_row.sort().values, torch.arange(50) % 2]),
        hard_width=width,
        log_q=numbers(rows + shared + 50),
    )
    weights = numbers(rows).abs()
    logits = candidate_logits(user_BD, item_MD, candidates, temperature=0.5, in_batch=True)
    total, weight = softmax_loss(logits, weights, smoothing)
    (3 * total / weight).backward()
    found = user_BD.grad, item_MD.grad
    user_BD.grad = item_MD.grad = None

    scores = user_BD @ item_MD.T / 0.5 - candidates.log_q
    absent = torch.full((rows, rows + shared), False)
    absent[range(rows), range(rows)] = True
    absent[tuple(candidates.twins)] = True
    absent[candidates.masked[0], rows + candidates.masked[1]] = True
    own = torch.full((rows, width), -math.inf, dtype=torch.float64)
    own = own.index_put(
        tuple(candidates.hard), scores[candidates.hard[0], range(rows + shared, len(item_MD))]
    )
    logits_all = torch.cat([scores[:, : rows + shared].masked_fill(absent, -math.inf), own], dim=1)
    positive = scores.diagonal()
    sums = torch.logaddexp(positive, logits_all.logsumexp(dim=1))
    present = logits_all.isfinite()
    mean = (positive + logits_all.masked_fill(~present, 0).sum(dim=1)) / (1 + present.sum(dim=1))
    expected = (weights * (sums - (1 - smoothing) * positive - smoothing * mean)).sum()
    torch.testing.assert_close(total, expected)
    (3 * expected / weights.sum()).backward()
    torch.testing.assert_close(found[0], user_BD.grad)
    torch.testing.assert_close(found[1], item_MD.grad)


def test_an_empty_batch_has_loss_zero() -> None:
    total, weight = softmax_loss(given(torch.zeros(0), torch.zeros(0, 3)))
    assert (total.item(), weight.item()) == (0.0, 0.0)


def test_the_place_of_the_positive_counts_ties_against_it() -> None:
    assert positive_places(LOGITS).tolist() == [1, 2]
    tied = given(torch.tensor([1.0]), torch.tensor([[1.0, 0.0, 2.0]]))
    assert positive_places(tied).tolist() == [3]
    broken = given(torch.tensor([math.nan]), torch.tensor([[1.0]]))
    assert positive_places(broken).tolist() == [2]
    alone = given(torch.tensor([-5.0]), torch.full((1, 3), -6.0), hard=torch.full((1, 3), NONE))
    assert positive_places(alone).tolist() == [1]
    blocks = given(torch.tensor([1.0]), torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0]]))
    assert positive_places(blocks).tolist() == [3]
