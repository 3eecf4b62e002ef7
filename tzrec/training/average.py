"""The exponential moving average of the dense parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchrec.optim.optimizers import in_backward_optimizer_filter


class Average:
    """Follows the dense parameters of a sharded model: average = decay * average + (1 - decay) * now.

    It begins at the parameters of the moment. Not torch's AveragedModel, which copies the whole
    model, tables included.

    Args:
        model: sharded.
        decay: in [0, 1), the weight of what was before each update.

    Attributes:
        tensors: the averages by the names of their parameters.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        dense = in_backward_optimizer_filter(model.named_parameters())
        self.live = {name: parameter.detach() for name, parameter in dense}
        self.tensors = {name: parameter.clone() for name, parameter in self.live.items()}
        self._average = get_ema_multi_avg_fn(decay)

    def begin(self) -> None:
        """Begins anew at the parameters as they are."""
        for name, parameter in self.live.items():
            self.tensors[name].copy_(parameter)

    def update(self) -> None:
        """Takes in the parameters after an update."""
        self._average(list(self.tensors.values()), list(self.live.values()), torch.tensor(0))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model computes with the averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.live.items():
            kept: Tensor = parameter.clone()
            parameter.copy_(self.tensors[name])
            self.tensors[name].copy_(kept)
