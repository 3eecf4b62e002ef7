"""Dropout whose rates are learned, one for each feature (Chang, Rampasek, Goldenberg, 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Of the relaxation of a yes-or-no choice: the smaller, the nearer to one.
TEMPERATURE = 0.1


class VariationalDropout(nn.Module):
    """Scales features by sampled keep rates while training, by their expected rates otherwise.

    Who trains it adds `penalty` to the mean loss of each update, once however many batches the update
    has; it is not part of the loss that is logged.

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

    def penalty(self) -> Tensor:
        """float32 scalar: `regularization` times the sum of the keep rates."""
        return self.regularization * torch.sigmoid(-self.logit).sum()

    def forward(self, x_RF: Tensor) -> Tensor:
        """float32 [R, F] -> float32 [R, F]."""
        if not self.training:
            return x_RF * torch.sigmoid(-self.logit)[self.owner]
        noise = torch.rand(x_RF.shape[0], len(self.logit), device=x_RF.device).clamp(1e-6, 1 - 1e-6)
        dropped = torch.sigmoid((self.logit + torch.logit(noise)) / TEMPERATURE)
        return x_RF * (1 - dropped)[:, self.owner]
