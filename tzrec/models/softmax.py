"""The loss and the metric of retrieval: one positive among negatives.

Shape letters: B rows, N negatives shared by the batch, D floats of a vector, K candidates.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Logits(NamedTuple):
    """Scores of each row's candidates; those of the positive stand apart, so nothing is copied together.

    A named tuple, not a dataclass: DistributedDataParallel finds the tensors of a model's output
    only inside tuples, lists and dictionaries, and else never averages the gradients.

    Attributes:
        positive: float32 [B].
        negatives: float32 [B, N]; -inf is no candidate.
    """

    positive: Tensor
    negatives: Tensor


def sampled_logits(user_BD: Tensor, item_MD: Tensor, temperature: float) -> Logits:
    """Scores against the row's own item and against the negatives below the positives.

    Args:
        user_BD: user vectors.
        item_MD: item vectors, the B positives first.
        temperature: what similarities are divided by.
    """
    rows = user_BD.shape[0]
    # Scaling the B x D vectors is cheaper than dividing the B x N scores.
    scaled_BD = user_BD / temperature
    return Logits((scaled_BD * item_MD[:rows]).sum(dim=1), scaled_BD @ item_MD[rows:].T)


def in_batch_logits(user_BD: Tensor, item_BD: Tensor, temperature: float) -> Logits:
    """Scores against the items of all rows; those of the other rows are the negatives."""
    logits_BB = (user_BD / temperature) @ item_BD.T
    diagonal = torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device)
    return Logits(logits_BB.diagonal(), logits_BB.masked_fill(diagonal, float("-inf")))


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
    # log(e^p + sum e^n) without a copy of all scores into one matrix.
    total_B = torch.logaddexp(logits.positive, torch.logsumexp(logits.negatives, dim=1))
    loss_B = total_B - logits.positive
    if label_smoothing:
        candidates_B = 1 + torch.isfinite(logits.negatives).sum(dim=1)
        finite_BN = logits.negatives.masked_fill(torch.isinf(logits.negatives), 0.0)
        mean_B = (logits.positive + finite_BN.sum(dim=1)) / candidates_B
        loss_B = (1 - label_smoothing) * loss_B + label_smoothing * (total_B - mean_B)
    if weights_B is None:
        return loss_B.sum(), loss_B.new_tensor(float(len(loss_B)))
    return (loss_B * weights_B).sum(), weights_B.sum()


def positive_places(logits: Logits) -> Tensor:
    """The place of each row's positive among its candidates, 1 for the first; a tie counts against it.

    Returns:
        int64 [B].
    """
    # "Not below" rather than "at least": a NaN must not count as a hit.
    ahead_BN = ~(logits.negatives < logits.positive[:, None])
    return 1 + ahead_BN.sum(dim=1)
