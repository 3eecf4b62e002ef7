"""One step of training: forward, backward, clipped gradients, update."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.datasets.batch import Batch
from tzrec.training.evaluate import Objective
from tzrec.training.optimizer import Optimizers

# Changes the gradients of the dense parameters in place.
Clip = Callable[[Iterable[nn.Parameter]], object]


class Stepped(NamedTuple):
    """What a step tells.

    Attributes:
        rates: learning rates of the embedding tables and of the dense layers.
        loss: float32 scalar, the sum of the weighted losses of the batch.
        weight: float32 scalar, the sum of its weights.
    """

    rates: tuple[float, float]
    loss: Tensor
    weight: Tensor


class Stepper:
    """Moves the parameters of a model by one batch.

    Args:
        model: sharded.
        optimizers: of the model.
        objective: what is minimised.
        clip: applied to the dense gradients before the update; None leaves them. Gradients are
            averaged over the ranks by then, so that every rank clips alike. Those of the embedding
            tables are used up inside the backward pass; their optimizers clip by themselves.
    """

    def __init__(
        self,
        model: DistributedModelParallel,
        optimizers: Optimizers,
        objective: Objective,
        clip: Clip | None = None,
    ) -> None:
        self.model, self.optimizers, self.objective, self.clip = model, optimizers, objective, clip
        self.dense = [parameter for _, parameter in in_backward_optimizer_filter(model.named_parameters())]

    def __call__(self, batch: Batch, step: int, epoch: int) -> Stepped:
        """Trains on a batch that is on the model's device, after `step` steps and `epoch` passes."""
        rates = self.optimizers.begin(step, epoch)
        _, logits = self.model(batch)
        loss, weight = self.objective.loss(logits, batch)
        # An empty batch has loss 0 and weight 0: 0 and not NaN.
        (loss / mean_over_ranks(weight).clamp(min=1e-12)).backward()
        if self.clip is not None:
            self.clip(self.dense)
        self.optimizers.end()
        return Stepped(rates, loss.detach(), weight.detach())


def mean_over_ranks(weight: Tensor) -> Tensor:
    """The mean of a scalar over the processes, in a tensor of its own. Collective.

    Gradients of dense layers and of tables are averaged over the ranks, each rank counting alike. A
    loss divided by this mean, and not by the rank's own weight, gives the gradient of the mean over all
    rows, however rows and weights are spread over the ranks.
    """
    weight = weight.detach().clone()
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(weight)
        weight /= dist.get_world_size()
    return weight


def clip_norm(largest: float, kind: float) -> Clip:
    """Scales all gradients by one factor, to a joint norm of at most `largest`; kind 2 is Euclid's."""
    return lambda parameters: nn.utils.clip_grad_norm_(parameters, largest, kind)


def clip_value(largest: float) -> Clip:
    """Moves every element into [-largest, largest]."""
    return lambda parameters: nn.utils.clip_grad_value_(parameters, largest)


def use_exact_onednn() -> bool:
    """Lets oneDNN compute FP32 products where that is FP32 arithmetic still; it is faster than MKL.

    torch takes oneDNN for precision "medium", by which it also allows BF16 inside an FP32 product.
    Which processors make use of that permission is up to oneDNN (those with AMX or on ARM may), so
    a product is tried, and the permission is withdrawn where it came out coarser than FP32 is.

    Returns:
        whether oneDNN is used.
    """
    if not torch.backends.mkldnn.is_available() or torch.cpu._is_amx_tile_supported():
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    # Sums of 512 products of size one: FP32 errs by 1e-4 or less, BF16 by more than 1e-1.
    if (a @ b - exact).abs().max() < 1e-3:
        return True
    torch.set_float32_matmul_precision(before)
    return False
