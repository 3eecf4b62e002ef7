"""Gradients of FP16 towers: a scaled loss, so that small gradients do not become 0 in FP16."""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor


class Scaling:
    """torch's GradScaler for a model whose tables update inside the backward pass.

    Tables never see a scaled gradient: the backward pass ends before them, what has come so far is
    divided here, and goes on to the tables only when no gradient on any rank has overflowed.

    Args:
        scaler: torch's.
        optimizers: of the dense parameters.
    """

    def __init__(self, scaler: torch.amp.GradScaler, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.scaler, self.optimizers = scaler, optimizers

    def scale(self, loss: Tensor) -> Tensor:
        return self.scaler.scale(loss)

    def unscale(self, gradients: Sequence[Tensor]) -> bool:
        """Divides these gradients, in place, and the dense ones. Collective.

        Returns:
            whether all of them are finite, on every rank; if not, this update must be left out.
        """
        dense = [list(_gradients(optimizer)) for optimizer in self.optimizers]
        found = [gradient for part in dense for gradient in part] + list(gradients)
        broken = torch.stack([~gradient.isfinite().all() for gradient in found]).any().float()
        if dist.is_initialized():
            dist.all_reduce(broken, dist.ReduceOp.MAX)
        if broken.item():
            # GradScaler decides for each optimizer, by its gradients on this rank: told to all.
            for part in dense:
                part[0].fill_(torch.inf)
        factor = 1 / self.scaler.get_scale()
        for gradient in gradients:
            gradient.mul_(factor)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        return not broken.item()

    def step(self) -> None:
        """Updates the dense parameters, unless a gradient has overflowed, and adapts the scale."""
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the scale, and the updates since it changed."""
        held = self.scaler.state_dict()
        return {
            "scale": torch.tensor(held["scale"], dtype=torch.float64),
            "updates": torch.tensor(held["_growth_tracker"]),
        }

    def take(self, state: dict[str, Tensor]) -> None:
        """Goes on from a `state`; how the scale grows stays as it was made."""
        self.scaler.load_state_dict(
            {
                **self.scaler.state_dict(),
                "scale": state["scale"].item(),
                "_growth_tracker": int(state["updates"].item()),
            }
        )


def _gradients(optimizer: torch.optim.Optimizer) -> Iterable[Tensor]:
    for group in optimizer.param_groups:
        yield from (parameter.grad for parameter in group["params"] if parameter.grad is not None)
