"""Encoders: sequences of elements to one vector a row.

Every encoder takes elements float32 [E, S] of all rows, lengths integers [R] and a query float32
[R, Q] or None, and returns float32 [R, `out_features`]. A row without elements gives zeros, except
for parts that are the query itself.

Shape letters: R rows, E elements, L elements of the longest row, S floats of an element, Q of the query.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tzrec.modules.mlp import Perceptron, Stack, linear
from tzrec.runtime.errors import UserError


@torch.fx.wrap
def padded(elements_ES: Tensor, lengths_R: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """(float32 [R, L, S] with zeros behind each row's elements, bool [R, L] where an element is).

    Args:
        elements_ES: row after row.
        lengths_R: elements of each row, summing to E.
        longest: keep the first so many of each row; 0 keeps all.
    """
    lengths = lengths_R.to(torch.long)
    count = lengths.size(0)
    starts = torch.cumsum(lengths, dim=0) - lengths
    row = torch.repeat_interleave(torch.arange(count, device=lengths.device), lengths)
    place = torch.arange(elements_ES.size(0), device=lengths.device) - starts[row]
    size = 1
    if count > 0:
        size = max(int(lengths.max().item()), 1)
    if longest > 0 and size > longest:
        kept = place < longest
        row, place, elements_ES = row[kept], place[kept], elements_ES[kept]
        size = longest
    out = torch.zeros([count, size, elements_ES.size(1)], dtype=elements_ES.dtype, device=elements_ES.device)
    out = out.index_put([row, place], elements_ES)
    return out, torch.arange(size, device=lengths.device).unsqueeze(0) < lengths.unsqueeze(1)


@torch.fx.wrap
def attended(scores_RL: Tensor, mask_RL: Tensor, elements_RLS: Tensor) -> Tensor:
    """The mean of the elements by the softmax of their scores, [R, S]; zeros where a row has none."""
    scores_RL = scores_RL.masked_fill(~mask_RL, -1e9)
    weights_RL = torch.softmax(scores_RL, dim=1) * mask_RL.to(scores_RL.dtype)
    return torch.bmm(weights_RL.unsqueeze(1), elements_RLS).squeeze(1)


@torch.fx.wrap
def widened(query_RQ: Tensor, width: int) -> Tensor:
    """The query with zeros behind it, as wide as an element."""
    return functional.pad(query_RQ, [0, width - query_RQ.size(1)])


class PoolingEncoder(nn.Module):
    """The mean or the sum of the elements."""

    def __init__(self, width: int, mean: bool, longest: int) -> None:
        super().__init__()
        self.mean, self.longest, self.out_features = mean, longest, width

    def forward(self, elements_ES: Tensor, lengths_R: Tensor, query_RQ: Tensor | None) -> Tensor:
        elements_RLS, mask_RL = padded(elements_ES, lengths_R, self.longest)
        total_RS = elements_RLS.sum(dim=1)
        if self.mean:
            return total_RS / mask_RL.sum(dim=1).clamp(min=1).unsqueeze(1)
        return total_RS


class SimpleAttention(nn.Module):
    """Elements weighted by the softmax of their dot product with the query."""

    def __init__(self, width: int, query: int, longest: int) -> None:
        super().__init__()
        if query != width:
            raise UserError(
                f"simple_attention: the query has {query} floats and an element {width}; "
                "they must be equal for a dot product"
            )
        self.longest, self.out_features = longest, width

    def forward(self, elements_ES: Tensor, lengths_R: Tensor, query_RQ: Tensor) -> Tensor:
        elements_RLS, mask_RL = padded(elements_ES, lengths_R, self.longest)
        scores_RL = torch.bmm(elements_RLS, query_RQ.unsqueeze(2)).squeeze(2)
        return attended(scores_RL, mask_RL, elements_RLS)


class _Scores(nn.Module):
    """A score of each element against the query, by a perceptron (Zhou et al., KDD 2018)."""

    def __init__(self, name: str, width: int, query: int, stack: Stack) -> None:
        super().__init__()
        if not 0 < query <= width:
            raise UserError(
                f"{name}: the query has {query} floats and an element {width}; give the sequence group a "
                "feature that is no sequence, at most as wide as an element"
            )
        self.width = width
        self.mlp = Perceptron(4 * width, stack)
        self.output = nn.Linear(self.mlp.out_features, 1)

    def forward(self, elements_RLS: Tensor, query_RQ: Tensor) -> Tensor:
        """float32 [R, L]."""
        query_RLS = widened(query_RQ, self.width).unsqueeze(1).expand_as(elements_RLS)
        both = [query_RLS, elements_RLS, query_RLS - elements_RLS, query_RLS * elements_RLS]
        pairs_RLP = torch.cat(both, dim=2)
        # One row a pair: normalisation over batches wants two dimensions.
        scores = self.output(self.mlp(pairs_RLP.flatten(0, 1)))
        return scores.view(elements_RLS.shape[0], elements_RLS.shape[1])


class DINEncoder(nn.Module):
    """Elements weighted by the softmax of learned scores against the query."""

    def __init__(self, width: int, query: int, stack: Stack, longest: int) -> None:
        super().__init__()
        self.scores = _Scores("din_encoder", width, query, stack)
        self.longest, self.out_features = longest, width

    def forward(self, elements_ES: Tensor, lengths_R: Tensor, query_RQ: Tensor) -> Tensor:
        elements_RLS, mask_RL = padded(elements_ES, lengths_R, self.longest)
        return attended(self.scores(elements_RLS, query_RQ), mask_RL, elements_RLS)


@torch.fx.wrap
def windowed(weighted_RLS: Tensor, mask_RL: Tensor, windows: list[int]) -> Tensor:
    """The mean of each window's elements, [R, W * S]; a window without elements gives zeros."""
    parts: list[Tensor] = []
    begin = 0
    for size in windows:
        inside_RLS = weighted_RLS[:, begin : begin + size]
        count_R = mask_RL[:, begin : begin + size].sum(dim=1).clamp(min=1)
        parts.append(inside_RLS.sum(dim=1) / count_R.unsqueeze(1))
        begin += size
    return torch.cat(parts, dim=1)


class MultiWindowDINEncoder(nn.Module):
    """The scored elements averaged in windows that follow one another, and the query behind them."""

    def __init__(self, width: int, query: int, stack: Stack, windows: Sequence[int]) -> None:
        super().__init__()
        self.scores = _Scores("multi_window_din_encoder", width, query, stack)
        self.activation = nn.PReLU()
        self.width, self.windows = width, list(windows)
        self.out_features = width * (len(self.windows) + 1)

    def forward(self, elements_ES: Tensor, lengths_R: Tensor, query_RQ: Tensor) -> Tensor:
        elements_RLS, mask_RL = padded(elements_ES, lengths_R, sum(self.windows))
        scores_RL = self.activation(self.scores(elements_RLS, query_RQ)) * mask_RL
        windows = windowed(elements_RLS * scores_RL.unsqueeze(2), mask_RL, self.windows)
        return torch.cat([windows, widened(query_RQ, self.width)], dim=1)


@torch.fx.wrap
def heads_attend(qkv_RLP: Tensor, mask_RL: Tensor, heads: int, dropout: float) -> Tensor:
    """Scaled dot-product attention of all elements of a row with one another: [R, L, P / 3]."""
    rows, size, width = qkv_RLP.size(0), qkv_RLP.size(1), qkv_RLP.size(2) // 3
    q, k, v = qkv_RLP.view(rows, size, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    # A row without elements looks at its padding, which is left out afterwards: no division by 0.
    seen = mask_RL | ~mask_RL.any(dim=1, keepdim=True)
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None], dropout_p=dropout)
    return out.transpose(1, 2).reshape(rows, size, width)


class SelfAttentionEncoder(nn.Module):
    """Multi-head attention among the elements (Vaswani et al., 2017), then their mean."""

    def __init__(self, width: int, dim: int, heads: int, dropout: float, longest: int) -> None:
        super().__init__()
        self.project = linear(width, 3 * dim, "self_attention_encoder.multihead_attn_dim")
        self.output = linear(dim, dim, "self_attention_encoder.multihead_attn_dim")
        self.heads, self.dropout, self.longest, self.out_features = heads, dropout, longest, dim

    def forward(self, elements_ES: Tensor, lengths_R: Tensor, query_RQ: Tensor | None) -> Tensor:
        elements_RLS, mask_RL = padded(elements_ES, lengths_R, self.longest)
        dropout = self.dropout if self.training else 0.0
        made_RLS = self.output(heads_attend(self.project(elements_RLS), mask_RL, self.heads, dropout))
        kept_RLS = made_RLS * mask_RL.unsqueeze(2)
        return kept_RLS.sum(dim=1) / mask_RL.sum(dim=1).clamp(min=1).unsqueeze(1)
