"""The loss and the metric of retrieval: one positive among negatives.

Shape letters: B rows, N negatives shared by the batch, H hard negatives of single rows, M = B + N + H
item rows, K columns of a block of negatives, D floats of a vector.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tzrec.datasets.batch import Candidates


class Logits(NamedTuple):
    """Scores of each row's candidates, in blocks, so that nothing is copied together.

    A named tuple, not a dataclass: DistributedDataParallel finds the tensors of a model's output
    only inside tuples, lists and dictionaries, and else never averages the gradients.

    Attributes:
        positive: float32 [B].
        negatives: blocks, float32 [B, K] each; `no_candidate` is the score of what is none.
    """

    positive: Tensor
    negatives: tuple[Tensor, ...]


def no_candidate(scores: Tensor) -> float:
    """The score of what is no candidate: the least number, whose exponential is 0.

    -inf would do for the loss, but a block in which a row has nothing else has no gradient then (NaN).
    """
    return torch.finfo(scores.dtype).min


def candidate_logits(
    user_BD: Tensor, item_MD: Tensor, candidates: Candidates, temperature: float, in_batch: bool
) -> Logits:
    """Scores of each row against its own item, those of the other rows, the shared and its hard negatives.

    Args:
        user_BD: user vectors.
        item_MD: item vectors: positives, shared negatives, hard negatives.
        candidates: what stands below the positives, and what is no candidate of which row.
        temperature: what similarities are divided by.
        in_batch: the items of the other rows are negatives too.
    """
    rows, shared = user_BD.shape[0], candidates.shared
    # Scaling the B x D vectors is cheaper than dividing the B x N scores.
    scaled_BD = user_BD / temperature
    positive_B = (scaled_BD * item_MD[:rows]).sum(dim=1)
    log_q_M = candidates.log_q
    if log_q_M is not None:
        positive_B = positive_B - log_q_M[:rows]
    blocks = []
    if in_batch:
        block_BB = _products(scaled_BD, item_MD, log_q_M, 0, rows)
        blocks.append(_without(block_BB.fill_diagonal_(no_candidate(block_BB)), candidates.twins))
    if shared:
        block_BN = _products(scaled_BD, item_MD, log_q_M, rows, rows + shared)
        blocks.append(_without(block_BN, candidates.masked))
    if candidates.hard is not None:
        of_row_H, place_H = candidates.hard
        scores_H = (scaled_BD[of_row_H] * item_MD[rows + shared :]).sum(dim=1)
        if log_q_M is not None:
            scores_H = scores_H - log_q_M[rows + shared :]
        empty_BK = scores_H.new_full((rows, candidates.hard_width), no_candidate(scores_H))
        blocks.append(empty_BK.index_put((of_row_H, place_H), scores_H))
    return Logits(positive_B, tuple(blocks))


def _products(user_BD: Tensor, item_MD: Tensor, log_q_M: Tensor | None, start: int, stop: int) -> Tensor:
    if log_q_M is None:
        return user_BD @ item_MD[start:stop].T
    # The correction is the bias of the product: no pass of its own over the scores.
    return torch.addmm(log_q_M[start:stop], user_BD, item_MD[start:stop].T, beta=-1)


def _without(block_BK: Tensor, pairs: Tensor | None) -> Tensor:
    if pairs is None:
        return block_BK
    return block_BK.index_put_((pairs[0], pairs[1]), block_BK.new_tensor(no_candidate(block_BK)))


def softmax_loss(
    logits: Logits, weights_B: Tensor | None = None, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Softmax cross entropy with the positive as the label.

    Args:
        logits: scores of each row's candidates.
        weights_B: weight of each row; 1 when None.
        label_smoothing: share of the label spread evenly over all candidates.

    Returns:
        (sum of weighted losses, sum of weights), so that an empty batch is 0 and not NaN.
    """
    # log(e^p + sum e^n) block by block, without a copy of all scores into one matrix.
    total_B = logits.positive
    for block_BK in logits.negatives:
        total_B = torch.logaddexp(total_B, torch.logsumexp(block_BK, dim=1))
    loss_B = total_B - logits.positive
    if label_smoothing:
        count_B = torch.ones_like(total_B)
        sum_B = logits.positive
        for block_BK in logits.negatives:
            absent_BK = block_BK == no_candidate(block_BK)
            count_B = count_B + (~absent_BK).sum(dim=1)
            sum_B = sum_B + block_BK.masked_fill(absent_BK, 0.0).sum(dim=1)
        loss_B = (1 - label_smoothing) * loss_B + label_smoothing * (total_B - sum_B / count_B)
    if weights_B is None:
        return loss_B.sum(), loss_B.new_tensor(float(len(loss_B)))
    return (loss_B * weights_B).sum(), weights_B.sum()


def positive_places(logits: Logits) -> Tensor:
    """The place of each row's positive among its candidates, 1 for the first; a tie counts against it.

    Returns:
        int64 [B].
    """
    ahead_B = torch.zeros_like(logits.positive, dtype=torch.long)
    for block_BK in logits.negatives:
        # "Not below" rather than "at least": a NaN must not count as a hit.
        ahead_B += (~(block_BK < logits.positive[:, None])).sum(dim=1)
    return 1 + ahead_B
