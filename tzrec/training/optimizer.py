"""The border: optimizer configurations become torch and fused TorchRec optimizers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torchrec.optim
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer, KeyedOptimizerWrapper
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer, WeightDecayMode
from tzrec.training.schedule import Schedule


@dataclass(frozen=True)
class FusedOptimizer:
    """An optimizer that updates the rows of embedding tables inside the backward pass.

    Attributes:
        kind: a class of torchrec.optim.
        options: its arguments.
        accumulator: what Adagrad's sums of squares begin at.
    """

    kind: type[torch.optim.Optimizer]
    options: dict[str, Any] = field(default_factory=dict)
    accumulator: float = 0.0


FUSED = {
    "sgd_optimizer": torchrec.optim.SGD,
    "adagrad_optimizer": torchrec.optim.Adagrad,
    "rowwise_adagrad_optimizer": torchrec.optim.RowWiseAdagrad,
    "adam_optimizer": torchrec.optim.Adam,
    "lars_sgd_optimizer": torchrec.optim.LarsSGD,
    "lamb_optimizer": torchrec.optim.LAMB,
    "partial_rowwise_lamb_optimizer": torchrec.optim.PartialRowWiseLAMB,
    "partial_rowwise_adam_optimizer": torchrec.optim.PartialRowWiseAdam,
}

DENSE = {
    "sgd_optimizer": torch.optim.SGD,
    "adagrad_optimizer": torch.optim.Adagrad,
    "adam_optimizer": torch.optim.Adam,
    "adamw_optimizer": torch.optim.AdamW,
    "adadelta_optimizer": torch.optim.Adadelta,
    "rmsprop_optimizer": torch.optim.RMSprop,
}


def _options(config: Any) -> dict[str, Any]:
    """The fields of an optimizer message under the names that torch gives them."""
    options = {descriptor.name: getattr(config, descriptor.name) for descriptor in config.DESCRIPTOR.fields}
    if "beta1" in options:
        options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    return options


def build_fused(config: SparseOptimizer) -> FusedOptimizer:
    """The fused optimizer of a validated configuration."""
    kind = config.WhichOneof("optimizer")
    options = _options(getattr(config, kind))
    if not options.get("gradient_clipping"):
        options.pop("gradient_clipping", None)
        options.pop("max_gradient", None)
    if "weight_decay_mode" in options:
        options["weight_decay_mode"] = _weight_decay_mode(options["weight_decay_mode"])
    accumulator = options.pop("initial_accumulator_value", 0.0)
    return FusedOptimizer(FUSED[kind], options, accumulator)


def _weight_decay_mode(mode: int) -> Any:
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import WeightDecayMode as FbgemmMode

    return FbgemmMode[WeightDecayMode.Name(mode)]


def build_dense(config: DenseOptimizer) -> Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]:
    """Makes the dense optimizer of a validated configuration for some parameters."""
    kind = config.WhichOneof("optimizer")
    options = _options(getattr(config, kind))
    if not options.get("fused"):
        options.pop("fused", None)
    return lambda parameters: DENSE[kind](parameters, **options)


class Optimizers:
    """The fused and the dense optimizer of a sharded model, with the schedule of each.

    Args:
        model: sharded, its fused optimizer applied.
        dense: makes the optimizer of the other parameters.
        sparse_schedule, dense_schedule: their learning rates.
    """

    def __init__(
        self,
        model: DistributedModelParallel,
        dense: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer],
        sparse_schedule: Schedule,
        dense_schedule: Schedule,
    ) -> None:
        self.fused: KeyedOptimizer = model.fused_optimizer
        self.dense = KeyedOptimizerWrapper(
            dict(in_backward_optimizer_filter(model.named_parameters())), lambda parameters: dense(parameters)
        )
        self.combined = CombinedOptimizer([("fused", self.fused), ("dense", self.dense)])
        # Without it the state of a dense Adam does not exist yet, and a checkpoint loads
        # nothing into it without a word.
        self.combined.init_state({})
        self.sparse_schedule, self.dense_schedule = sparse_schedule, dense_schedule

    def begin(self, step: int, epoch: int) -> tuple[float, float]:
        """Sets the rates for a step and clears gradients; returns (sparse rate, dense rate).

        The fused update happens in the backward pass, so its rate must be set before.
        """
        rates = self.sparse_schedule.rate(step, epoch), self.dense_schedule.rate(step, epoch)
        for optimizer, rate in zip((self.fused, self.dense), rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.combined.zero_grad(set_to_none=True)
        return rates

    def end(self) -> None:
        """Updates the dense parameters; the fused ones were updated in the backward pass."""
        self.dense.step()
