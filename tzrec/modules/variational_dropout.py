"""Dropout whose rates are learned, one for each feature (Chang, Rampasek, Goldenberg, 2017)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Of the relaxation of a yes-or-no choice: the smaller, the nearer to one.
TEMPERATURE = 0.1


class AddGradient(torch.autograd.Function):
    """Passes a tensor on and gives a penalty the gradient that adding it to the loss would give."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, penalty: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return gradient, gradient.new_ones(())


class VariationalDropout(nn.Module):
    """Scales features by sampled keep rates while training, by their expected rates otherwise.

    The loss has `regularization` times the sum of keep rates as a penalty. It acts on the
    gradients and is not part of the loss that is logged.

    Args:
        widths: floats of each feature, F in all.
        regularization: of the penalty.
        embedding_wise: a rate for each float instead of each feature.
    """

    owner: Tensor

    def __init__(self, widths: Sequence[int], regularization: float, embedding_wise: bool) -> None:
        super().__init__()
        self.regularization = regularization
        rates = sum(widths) if embedding_wise else len(widths)
        self.logit = nn.Parameter(torch.zeros(rates))
        owner = torch.arange(rates)
        if not embedding_wise:
            owner = torch.repeat_interleave(owner, torch.tensor(list(widths)))
        self.register_buffer("owner", owner, persistent=False)

    def forward(self, x_RF: Tensor) -> Tensor:
        """float32 [R, F] -> float32 [R, F]."""
        keep = torch.sigmoid(-self.logit)
        if not self.training:
            return x_RF * keep[self.owner]
        noise = torch.rand(x_RF.shape[0], len(self.logit), device=x_RF.device).clamp(1e-6, 1 - 1e-6)
        dropped = torch.sigmoid((self.logit + torch.logit(noise)) / TEMPERATURE)
        scaled_RF = x_RF * (1 - dropped)[:, self.owner]
        return AddGradient.apply(scaled_RF, self.regularization * keep.sum())
