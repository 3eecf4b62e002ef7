"""Which candidates are the positive itself under another number: they tie, whatever rounding says.

The score of a positive is a sum of products of its own, the scores of negatives come from a matrix product,
and a layer may round a row differently in another place of the batch. So that an equal item ties, it is
known by what the item tower reads of it, or by its vector, and not by its score.

Shape letters: those of softmax.py, and P for the two ways to know an item.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tzrec.datasets.batch import Candidates


class Keys(NamedTuple):
    """Numbers that are alike where items are: by their inputs, or by their vectors.

    Attributes:
        positive: int64 [P, B].
        blocks: int64 [P, K] of each block of negatives, in the order of the scores.
        hard: int64 [P, B, K] of the negatives of single rows; None without such.
    """

    positive: Tensor
    blocks: tuple[Tensor, ...]
    hard: Tensor | None

    def same(self, rows: slice, number: int) -> Tensor:
        """bool [C, K]: of some rows, which candidates of a block are the row's item; the hard come last."""
        if number < len(self.blocks):
            others_PCK = self.blocks[number][:, None]
        else:
            assert self.hard is not None
            others_PCK = self.hard[:, rows]
        by_input, by_vector = self.positive[:, rows, None] == others_PCK
        return by_input | by_vector


def row_keys(x_MF: Tensor) -> Tensor:
    """int64 [M], alike for rows with the same numbers; two others are alike once in 2^64 or so."""
    # -0 and 0 are one number of two patterns.
    words_MF = (x_MF.float() + 0.0).contiguous().view(torch.int32).long()
    generator = torch.Generator().manual_seed(words_MF.shape[1])
    # Odd factors of 64 bits, and a shift that brings high bits down before the second ones.
    factors_FT = torch.randint(-(2**62), 2**62, (words_MF.shape[1], 2), generator=generator) * 2 + 1
    first_F, second_F = factors_FT.to(x_MF.device).unbind(dim=1)
    mixed_MF = words_MF * first_F
    return ((mixed_MF ^ (mixed_MF >> 29)) * second_F).sum(dim=1)


def candidate_keys(inputs_MF: Tensor, item_MD: Tensor, candidates: Candidates, in_batch: bool) -> Keys:
    """The keys of a batch, laid out as `candidate_logits` lays out its scores.

    Items whose scores are corrected differently are different ones.

    Args:
        inputs_MF: what the item tower has read.
        item_MD: item vectors: positives, shared negatives, hard negatives.
        candidates: what stands below the positives.
        in_batch: the items of the other rows are negatives too.
    """
    more = [] if candidates.log_q is None else [candidates.log_q[:, None]]
    keys_PM = torch.stack([row_keys(torch.cat([x, *more], dim=1)) for x in (inputs_MF, item_MD)])
    hard = 0 if candidates.hard is None else candidates.hard.shape[1]
    rows = len(item_MD) - candidates.shared - hard
    positive_PB, shared_PN, hard_PH = keys_PM.split([rows, candidates.shared, hard], dim=1)
    hard_PBK = None
    if candidates.hard is not None:
        hard_PBK = keys_PM.new_zeros(len(keys_PM), rows, candidates.hard_width)
        hard_PBK[:, candidates.hard[0], candidates.hard[1]] = hard_PH
    blocks = [positive_PB] if in_batch else []
    blocks += [shared_PN] if candidates.shared else []
    return Keys(positive_PB, tuple(blocks), hard_PBK)
