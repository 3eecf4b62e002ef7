"""The loss and the metric of retrieval: one positive among negatives.

Shape letters: B rows, N negatives shared by the batch, H hard negatives of single rows, M = B + N + H
item rows, K columns of a block of negatives, C rows of a chunk of it, D floats of a vector.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tzrec.datasets.batch import Candidates
from tzrec.models.ties import Keys

# Scores that are computed at a time: 4 MB, which stay in the caches of a CPU; 256 MB on a GPU.
CHUNK, GPU_CHUNK = 1 << 20, 1 << 26


class Block(NamedTuple):
    """K items that stand against all rows, but for those that are ruled out.

    Attributes:
        item: float32 [K, D].
        log_q: float32 [K], taken from every score; None for none.
        absent: int64 [2, P], (row, item) that do not stand against each other, by row; None for none.
        diagonal: nor does item i against row i.
    """

    item: Tensor
    log_q: Tensor | None = None
    absent: Tensor | None = None
    diagonal: bool = False

    def scores(self, user_CD: Tensor, start: int, absent: Tensor | None) -> Tensor:
        """float32 [C, K] of the rows from `start` on, with what is `absent` among these."""
        if self.log_q is None:
            scores_CK = user_CD @ self.item.T
        else:
            # The correction is the bias of the product: no pass of its own over the scores.
            scores_CK = torch.addmm(self.log_q, user_CD, self.item.T, beta=-1)
        none = no_candidate(scores_CK)
        if self.diagonal:
            scores_CK.diagonal(start).fill_(none)
        if absent is not None:
            scores_CK.index_put_((absent[0] - start, absent[1]), scores_CK.new_tensor(none))
        return scores_CK


class Logits(NamedTuple):
    """Scores of each row's candidates, which are computed where they are needed and never all at once.

    Named tuples, not dataclasses: DistributedDataParallel finds the tensors of a model's output
    only inside tuples, lists and dictionaries, and else never averages the gradients.

    Attributes:
        user: float32 [B, D], divided by the temperature.
        positive: float32 [B].
        blocks: items that all rows stand against.
        hard: float32 [B, K], of negatives of single rows; `no_candidate` is the score of what is
            none. None without such.
        keys: which candidates are the positive itself; None in training, which does not ask.
    """

    user: Tensor
    positive: Tensor
    blocks: tuple[Block, ...] = ()
    hard: Tensor | None = None
    keys: Keys | None = None

    def chunks(self) -> Iterator[tuple[slice, list[Tensor]]]:
        """Some rows, their scores [C, K] in each block and among the hard negatives; all rows in turn."""
        rows = len(self.user)
        width = max(sum(len(block.item) for block in self.blocks), 1)
        size = max((CHUNK if self.user.device.type == "cpu" else GPU_CHUNK) // width, 16)
        edges = [*range(0, rows, size), rows]
        cuts = [_cuts(block.absent, edges) for block in self.blocks]
        for number, (start, stop) in enumerate(pairwise(edges)):
            user_CD = self.user[start:stop]
            scores = [
                block.scores(user_CD, start, block.absent[:, slice(*cut[number : number + 2])])
                if block.absent is not None
                else block.scores(user_CD, start, None)
                for block, cut in zip(self.blocks, cuts, strict=True)
            ]
            if self.hard is not None:
                scores.append(self.hard[start:stop].clone())
            yield slice(start, stop), scores


def _cuts(absent: Tensor | None, edges: list[int]) -> list[int | None]:
    """Where in `absent` the rows from each edge on begin."""
    if absent is None or len(edges) <= 2:
        return [None] * len(edges)  # No look at the numbers, for which a GPU would have to wait.
    return torch.searchsorted(absent[0].contiguous(), torch.tensor(edges, device=absent.device)).tolist()


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
    blocks, hard_BK = [], None
    if in_batch:
        log_q_B = None if log_q_M is None else log_q_M[:rows]
        blocks.append(Block(item_MD[:rows], log_q_B, candidates.twins, diagonal=True))
    if shared:
        log_q_N = None if log_q_M is None else log_q_M[rows : rows + shared]
        blocks.append(Block(item_MD[rows : rows + shared], log_q_N, candidates.masked))
    if candidates.hard is not None:
        of_row_H, place_H = candidates.hard
        scores_H = (scaled_BD[of_row_H] * item_MD[rows + shared :]).sum(dim=1)
        if log_q_M is not None:
            scores_H = scores_H - log_q_M[rows + shared :]
        empty_BK = scores_H.new_full((rows, candidates.hard_width), no_candidate(scores_H))
        hard_BK = empty_BK.index_put((of_row_H, place_H), scores_H)
    return Logits(scaled_BD, positive_B, tuple(blocks), hard_BK)


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
    if weights_B is None:
        weights_B = torch.ones_like(logits.positive)
    tensors = (logits.user, logits.positive, logits.hard, *(block.item for block in logits.blocks))
    loss = _SoftmaxLoss.apply(logits, weights_B, label_smoothing, torch.is_grad_enabled(), *tensors)
    return loss, weights_B.sum()


class _SoftmaxLoss(torch.autograd.Function):
    """`softmax_loss`, with its gradients computed beside it while a chunk of scores is in the cache.

    The gradient of a score is known as soon as its row is: a softmax times the weight of the row. So
    the scores are never written to memory, and never computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Logits, weights_B: Tensor, smoothing: float, differentiate: bool, *_: Tensor | None
    ) -> Tensor:
        """`_`: the tensors of the logits once more, where autograd looks for them."""
        loss = weights_B.new_zeros(())
        user_BD, positive_B = torch.empty_like(logits.user), torch.empty_like(logits.positive)
        hard_BK = None if logits.hard is None else torch.empty_like(logits.hard)
        items = [torch.zeros_like(block.item) for block in logits.blocks]
        for rows, scores in logits.chunks():
            positive_C, weights_C = logits.positive[rows], weights_B[rows]
            spread_C = torch.zeros_like(positive_C)
            if smoothing:
                present = [scores_CK > no_candidate(scores_CK) for scores_CK in scores]
                total_C, count_C = positive_C.clone(), torch.ones_like(positive_C)
                for scores_CK, one in zip(scores, present, strict=True):
                    total_C += (scores_CK * one).sum(dim=1)
                    count_C += one.sum(dim=1)
                spread_C = smoothing / count_C
                loss -= (weights_C * spread_C * total_C).sum()
            largest_C = positive_C
            for scores_CK in scores:
                if scores_CK.shape[1]:
                    largest_C = torch.maximum(largest_C, scores_CK.amax(dim=1))
            own_C = (positive_C - largest_C).exp_()
            sum_C = own_C.clone()
            for scores_CK in scores:
                sum_C += scores_CK.sub_(largest_C[:, None]).exp_().sum(dim=1)
            loss += (weights_C * (largest_C + sum_C.log() - (1 - smoothing) * positive_C)).sum()
            if not differentiate:
                continue
            # From here on `scores` are gradients.
            factor_C = weights_C / sum_C
            positive_B[rows] = own_C * factor_C - weights_C * (1 - smoothing + spread_C)
            for scores_CK in scores:
                scores_CK.mul_(factor_C[:, None])
            if smoothing:
                for scores_CK, one in zip(scores, present, strict=True):
                    scores_CK.sub_(one * (weights_C * spread_C)[:, None])
            if hard_BK is not None:
                hard_BK[rows] = scores.pop()
            part_CD = user_BD[rows].zero_()
            for scores_CK, block, item_KD in zip(scores, logits.blocks, items, strict=True):
                part_CD.addmm_(scores_CK, block.item)
                item_KD.addmm_(scores_CK.T, logits.user[rows])
        ctx.save_for_backward(user_BD, positive_B, hard_BK, *items)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = (None if saved is None else saved * gradient for saved in ctx.saved_tensors)
        return None, None, None, None, *found


def positive_places(logits: Logits) -> Tensor:
    """The place of each row's positive among its candidates, 1 for the first; a tie counts against it.

    Where the logits have keys, a candidate that is the positive's item ties whatever its score was
    rounded to.

    Returns:
        int64 [B].
    """
    ahead_B = torch.zeros_like(logits.positive, dtype=torch.long)
    for rows, scores in logits.chunks():
        for number, scores_CK in enumerate(scores):
            # "Not below" rather than "at least": a NaN must not count as a hit.
            ahead_CK = ~(scores_CK < logits.positive[rows, None])
            if logits.keys is not None:
                ahead_CK |= logits.keys.same(rows, number) & (scores_CK > no_candidate(scores_CK))
            ahead_B[rows] += ahead_CK.sum(dim=1)
    return 1 + ahead_B
