"""Numbers as vectors: one linear layer, or AutoDis (Guo et al., KDD 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tzrec.features.outputs import DenseEmbedding
from tzrec.modules.mlp import linear
from tzrec.runtime.memory import check_fits


class AutoDis(nn.Module):
    """A soft choice among meta-embeddings for each number.

    Args:
        numbers: how many numbers a row has, each with meta-embeddings of its own.
        dim: floats of a vector.
        channels: meta-embeddings of a number.
        temperature: of the choice; the smaller, the harder.
        keep: how much of the first layer is added to the second.
    """

    def __init__(self, numbers: int, dim: int, channels: int, temperature: float, keep: float) -> None:
        super().__init__()
        check_fits(f"autodis.num_channels: {channels} channels", numbers * channels * (channels + dim))
        self.first = nn.Parameter(torch.empty(numbers, channels))
        self.second = nn.Parameter(torch.empty(numbers, channels, channels))
        self.meta = nn.Parameter(torch.empty(numbers, channels, dim))
        for parameter in (self.first, self.second, self.meta):
            nn.init.xavier_uniform_(parameter)
        self.temperature, self.keep = temperature, keep

    def forward(self, x_RN: Tensor) -> Tensor:
        """float32 [R, numbers] -> float32 [R, numbers * dim]."""
        hidden_NRC = functional.leaky_relu(x_RN.unsqueeze(2) * self.first).transpose(0, 1)
        scores_NRC = torch.bmm(hidden_NRC, self.second) + self.keep * hidden_NRC
        choice_NRC = torch.softmax(scores_NRC / self.temperature, dim=2)
        return torch.bmm(choice_NRC, self.meta).transpose(0, 1).flatten(1)


def dense_embedding(numbers: int, embedding: DenseEmbedding) -> nn.Module:
    """The module for so many numbers: float32 [R, numbers] -> float32 [R, the feature's width]."""
    if not embedding.channels:
        return linear(numbers, embedding.dim, "embedding_dim of an mlp {} feature")
    return AutoDis(numbers, embedding.dim, embedding.channels, embedding.temperature, embedding.keep)
