"""Dense embeddings and the learned dropout, against their formulas."""

import math

import pytest
import torch

from tzrec.features.outputs import DenseEmbedding
from tzrec.modules.dense_embedding import AutoDis, dense_embedding
from tzrec.modules.embedding import pooled
from tzrec.modules.variational_dropout import VariationalDropout


def test_autodis_by_hand() -> None:
    module = AutoDis(numbers=1, dim=2, channels=2, temperature=0.5, keep=0.25)
    with torch.no_grad():
        module.first.copy_(torch.tensor([[1.0, -1.0]]))
        module.second.copy_(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))
        module.meta.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    # x = 2: hidden (2, -0.02); scores (0, 2) + 0.25 hidden = (0.5, 1.995); softmax of their doubles.
    share = 1 / (1 + math.exp((1.995 - 0.5) / 0.5))
    torch.testing.assert_close(module(torch.tensor([[2.0]])), torch.tensor([[share, 1 - share]]))


def test_each_number_has_its_own() -> None:
    module = dense_embedding(3, DenseEmbedding(4, channels=5))
    x = torch.rand(6, 3)
    changed = x.clone()
    changed[:, 1] += 1
    same = (module(x) == module(changed)).view(6, 3, 4).all(dim=2)
    assert same.tolist() == [[True, False, True]] * 6
    assert dense_embedding(3, DenseEmbedding(4))(x).shape == (6, 4)


@pytest.mark.parametrize("embedding_wise", [False, True])
def test_variational_dropout(embedding_wise: bool) -> None:
    torch.manual_seed(0)
    module = VariationalDropout([2, 1], 0.5, embedding_wise)
    assert len(module.logit) == (3 if embedding_wise else 2)
    with torch.no_grad():
        module.logit[0] = math.log(3.0)  # Dropped in three of four rows.
        module.logit[-1] = -20.0
        if embedding_wise:
            module.logit[1] = -20.0
    x = torch.ones(4000, 3)
    second = 1.0 if embedding_wise else 0.25
    torch.testing.assert_close(module.eval()(x)[0], torch.tensor([0.25, second, 1.0]))
    sampled = module.train()(x)
    # A relaxed choice: near 0 or 1, on average near the keep rate.
    assert abs(sampled[:, 0].mean().item() - 0.25) < 0.03
    assert embedding_wise or torch.equal(sampled[:, 0], sampled[:, 1])
    torch.testing.assert_close(sampled[:, 2], torch.ones(4000))


def test_the_penalty_of_the_keep_rates() -> None:
    module = VariationalDropout([1], 0.5, False)
    assert module.penalty().item() == 0.25
    module.penalty().backward()
    # d/dlogit of 0.5 * sigmoid(-logit) at 0.
    torch.testing.assert_close(module.logit.grad, torch.tensor([-0.125]))


def test_pooling_of_single_vectors() -> None:
    vectors = torch.tensor([[1.0], [2.0], [4.0]])
    segments = torch.tensor([2, 0, 1], dtype=torch.int32)
    assert pooled(vectors, segments, None, mean=False).tolist() == [[3.0], [0.0], [4.0]]
    assert pooled(vectors, segments, None, mean=True).tolist() == [[1.5], [0.0], [4.0]]
    weights = torch.tensor([0.5, 1.0, 2.0])
    assert pooled(vectors, segments, weights, mean=True).tolist() == [[1.25], [0.0], [8.0]]
