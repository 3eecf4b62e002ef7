"""One update of training: forward, backward, clipped gradients, new parameters."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.datasets.batch import Batch
from tzrec.modules.variational_dropout import VariationalDropout
from tzrec.training.evaluate import Objective
from tzrec.training.optimizer import Optimizers

# Changes the gradients of the dense parameters in place.
Clip = Callable[[Iterable[nn.Parameter]], object]


class Stepped(NamedTuple):
    """What an update tells.

    Attributes:
        rates: learning rates of the embedding tables and of the dense layers.
        loss: float32 scalar, the sum of the weighted losses of the batches.
        weight: float32 scalar, the sum of their weights.
    """

    rates: tuple[float, float]
    loss: Tensor
    weight: Tensor


class Stepper:
    """Moves the parameters of a model by one update, of one batch or of several.

    It minimises the weighted mean of the losses of all rows, of all batches and ranks, and what the model
    is penalised for beside it.

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
        self.penalised = [module for module in model.modules() if isinstance(module, VariationalDropout)]
        self.dense = [parameter for _, parameter in in_backward_optimizer_filter(model.named_parameters())]

    def __call__(
        self, batches: Sequence[Batch], step: int, epoch: int, seed: Callable[[int], object] = lambda i: None
    ) -> Stepped:
        """Trains on batches that are on the model's device, after `step` steps and `epoch` passes.

        Args:
            batches: of one update.
            step, epoch: for the schedules.
            seed: called with the number of each batch before the towers compute it.
        """
        rates = self.optimizers.begin(step, epoch)
        # What the losses are divided by: 1e-12 where all rows are empty or weigh nothing, so that 0 stays 0.
        share = mean_over_ranks(sum_of_weights(batches)).clamp(min=1e-12)
        if len(batches) == 1 and not self.optimizers.scaling:
            seed(0)
            loss, weight = self._losses(self.model, batches[0])
            self._minimised(loss / share, first=True).backward()
            finite = True
        else:
            loss, weight, finite = self._apart(batches, share, seed)
        if self.clip is not None and finite:
            self.clip(self.dense)
        self.optimizers.end(finite)
        return Stepped(rates, loss.detach(), weight.detach())

    def _losses(self, model: nn.Module, batch: Batch, *looked_up: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(sum of the weighted losses, sum of the weights)."""
        _, logits = model(batch, *looked_up)
        return self.objective.loss(logits, batch)

    def _minimised(self, loss: Tensor, first: bool) -> Tensor:
        """What a batch's backward pass begins with; the first batch of an update bears the penalties."""
        return loss + sum(module.penalty() for module in self.penalised) if first and self.penalised else loss

    def _apart(
        self, batches: Sequence[Batch], share: Tensor, seed: Callable[[int], object]
    ) -> tuple[Tensor, Tensor, bool]:
        """The backward pass in two: through the towers batch for batch, then once through the tables.

        Returns:
            sums of losses and of weights, and whether the gradients were finite and the tables updated.
        """
        scaling = self.optimizers.scaling
        vectors = [list(found.items()) for found in self.model.module.embeddings.look_up(batches)]
        cut = [
            {name: vector.detach().requires_grad_(vector.requires_grad) for name, vector in found}
            for found in vectors
        ]
        sums = []
        for i, (batch, looked_up) in enumerate(zip(batches, cut, strict=True)):
            seed(i)
            # Past the wrapper that averages gradients: TorchRec makes it static, and such a one counts
            # backward passes, fails within `no_sync` and averages nothing after passes without it.
            loss, weight = self._losses(self.model.module, batch, looked_up)
            minimised = self._minimised(loss / share, first=i == 0)
            (scaling.scale(minimised) if scaling else minimised).backward()
            sums.append(torch.stack([loss.detach(), weight.detach()]))
        average_gradients(self.dense)
        outputs, gradients = [], []
        for found, looked_up in zip(vectors, cut, strict=True):
            for name, vector in found:
                if vector.requires_grad:
                    # Every rank must take part in the backward pass of every collection.
                    leaf = looked_up[name]
                    outputs.append(vector)
                    gradients.append(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
        finite = scaling.unscale(gradients) if scaling else True
        if outputs and finite:
            torch.autograd.backward(outputs, gradients)
        loss, weight = torch.stack(sums).sum(dim=0)
        return loss, weight, finite


def sum_of_weights(batches: Sequence[Batch]) -> Tensor:
    """float32 scalar: what the rows of some batches weigh together."""
    parts = [
        torch.tensor(float(batch.rows)) if batch.weights is None else batch.weights.sum() for batch in batches
    ]
    return torch.stack(parts).sum()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Gives every rank the mean of all ranks' gradients; a missing one counts as zero. Collective."""
    size = dist.get_world_size()
    if size == 1 or not parameters:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    joint = nn.utils.parameters_to_vector(gradients)
    dist.all_reduce(joint)
    nn.utils.vector_to_parameters(joint / size, gradients)


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
