"""Encoders of sequences on sequences small enough to work out by hand."""

import pytest
import torch

from tzrec.modules.mlp import Stack
from tzrec.modules.sequence import (
    DINEncoder,
    MultiWindowDINEncoder,
    PoolingEncoder,
    SelfAttentionEncoder,
    SimpleAttention,
)
from tzrec.runtime.errors import UserError

# Rows of 2, 0 and 3 elements.
ELEMENTS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
LENGTHS = torch.tensor([2, 0, 3])
QUERY = torch.tensor([[0.0, 0.0], [1.0, 1.0], [10.0, 0.0]])
STACK = Stack(hidden=[3])


def test_pooling() -> None:
    mean = PoolingEncoder(2, mean=True, longest=0)(ELEMENTS, LENGTHS, None)
    torch.testing.assert_close(mean, torch.tensor([[2.0, 3.0], [0.0, 0.0], [2.0, 2.0]]))
    total = PoolingEncoder(2, mean=False, longest=0)(ELEMENTS, LENGTHS, None)
    torch.testing.assert_close(total, torch.tensor([[4.0, 6.0], [0.0, 0.0], [6.0, 6.0]]))


def test_the_longest_keeps_the_first() -> None:
    mean = PoolingEncoder(2, mean=True, longest=2)(ELEMENTS, LENGTHS, None)
    torch.testing.assert_close(mean, torch.tensor([[2.0, 3.0], [0.0, 0.0], [0.5, 0.5]]))


def test_simple_attention_is_a_softmax_of_dot_products() -> None:
    made = SimpleAttention(2, 2, 0)(ELEMENTS, LENGTHS, QUERY)
    # A query of zeros weighs all alike; the last one scores 10, 0 and 50.
    torch.testing.assert_close(made, torch.tensor([[2.0, 3.0], [0.0, 0.0], [5.0, 5.0]]))
    with pytest.raises(UserError, match="query has 3 floats and an element 2"):
        SimpleAttention(2, 3, 0)


def test_din_without_weights_is_the_mean() -> None:
    encoder = DINEncoder(2, 1, STACK, 0)
    torch.nn.init.zeros_(encoder.scores.output.weight)
    made = encoder(ELEMENTS, LENGTHS, QUERY[:, :1])
    torch.testing.assert_close(made, torch.tensor([[2.0, 3.0], [0.0, 0.0], [2.0, 2.0]]))


def test_windows_follow_one_another_and_the_query_is_last() -> None:
    encoder = MultiWindowDINEncoder(2, 2, STACK, [1, 2])
    torch.nn.init.zeros_(encoder.scores.output.weight)
    torch.nn.init.constant_(encoder.scores.output.bias, 2.0)
    made = encoder(ELEMENTS, LENGTHS, QUERY)
    # Every score is 2: the first element twice, then twice the mean of what follows.
    expected = torch.tensor(
        [[2.0, 4.0, 6.0, 8.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 5.0, 6.0, 10.0, 0.0]]
    )
    torch.testing.assert_close(made, expected)


def test_self_attention_is_what_torch_computes_row_by_row() -> None:
    torch.manual_seed(1)
    encoder = SelfAttentionEncoder(2, 8, 2, dropout=0.5, longest=0).eval()
    made = encoder(ELEMENTS, LENGTHS, None)
    library = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    q, k, v = encoder.project(ELEMENTS[:2]).chunk(3, dim=1)
    with torch.no_grad():
        library.in_proj_weight.copy_(torch.eye(8).repeat(3, 1))
        library.in_proj_bias.zero_()
        library.out_proj.weight.copy_(encoder.output.weight)
        library.out_proj.bias.copy_(encoder.output.bias)
        expected = library(q[None], k[None], v[None])[0][0].mean(dim=0)
        torch.testing.assert_close(made[0], expected)
    assert made[1].tolist() == [0.0] * 8


ENCODERS = {
    "pooling": PoolingEncoder(2, True, 2),
    "simple": SimpleAttention(2, 2, 0),
    "din": DINEncoder(2, 2, STACK, 0),
    "windows": MultiWindowDINEncoder(2, 2, STACK, [1, 1]),
    "self": SelfAttentionEncoder(2, 4, 2, 0.0, 0),
}


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_contract(name: str) -> None:
    encoder = ENCODERS[name].eval()
    made = encoder(ELEMENTS, LENGTHS, QUERY)
    assert made.shape == (3, encoder.out_features)
    # A row alone is what it is among others; what another row holds does not matter.
    alone = encoder(ELEMENTS[2:], LENGTHS[2:], QUERY[2:])
    torch.testing.assert_close(alone[0], made[2])
    assert encoder(ELEMENTS[:0], LENGTHS[:0], QUERY[:0]).shape == (0, encoder.out_features)
    nothing = encoder(ELEMENTS[:0], torch.zeros(2, dtype=torch.long), torch.zeros(2, 2))
    assert nothing.tolist() == [[0.0] * encoder.out_features] * 2
    elements = ELEMENTS.clone().requires_grad_()
    encoder(elements, LENGTHS, QUERY).sum().backward()
    assert torch.isfinite(elements.grad).all()
    assert elements.grad.abs().sum() > 0
