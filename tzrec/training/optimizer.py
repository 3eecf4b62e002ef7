"""The border: optimizer configurations become torch and fused TorchRec optimizers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torchrec.optim
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer, KeyedOptimizerWrapper
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.protos.optimizer_pb2 import DenseOptimizer, PartOptimizer, SparseOptimizer, WeightDecayMode
from tzrec.runtime.errors import UserError
from tzrec.training.average import Average
from tzrec.training.scaling import Scaling
from tzrec.training.schedule import Schedule, build_schedule

MakeOptimizer = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


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


class DampenedSGD(torch.optim.SGD):
    """torch's SGD, whose first step of a parameter is not dampened, also where `make_state` was before it.

    torch takes a parameter without a momentum for one before its first step. Here all have one from the
    beginning, so that checkpoints can be loaded, and a count of steps besides.
    """

    def step(self, closure: Any = None) -> Any:
        for parameter in (one for group in self.param_groups for one in group["params"]):
            if parameter.grad is not None:
                state = self.state[parameter]
                done = state.setdefault("step", torch.zeros(()))
                if not done:
                    state.pop("momentum_buffer", None)
                done += 1
        return super().step(closure)


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


def build_dense(config: DenseOptimizer | PartOptimizer) -> MakeOptimizer:
    """Makes the dense optimizer of a validated configuration for some parameters."""
    kind = config.WhichOneof("optimizer")
    options = _options(getattr(config, kind))
    if not options.get("fused"):
        options.pop("fused", None)
    dense = DENSE[kind]
    if options.get("dampening") and options["momentum"]:
        dense = DampenedSGD
    return lambda parameters: dense(parameters, **options)


@dataclass(frozen=True)
class Part:
    """An optimizer of some dense parameters.

    Attributes:
        make: the optimizer, for those parameters.
        schedule: its learning rate.
        pattern: a regular expression that is found in their names; "" for all that no other part takes.
    """

    make: MakeOptimizer
    schedule: Schedule
    pattern: str = ""


def build_parts(config: DenseOptimizer) -> list[Part]:
    """The optimizers of a validated configuration; the one for what is left comes last."""
    parts = [
        Part(build_dense(part), build_schedule(part), part.regex_pattern) for part in config.part_optimizers
    ]
    return [*parts, Part(build_dense(config), build_schedule(config))]


def divide(names: Sequence[str], parts: Sequence[Part]) -> list[list[str]]:
    """The names of each part's parameters; a name goes to the first part whose pattern is found in it.

    Raises:
        UserError: a part, other than the last, that gets none.
    """
    taken: list[list[str]] = [[] for _ in parts]
    for name in names:
        taken[next(i for i, part in enumerate(parts) if re.search(part.pattern, name))].append(name)
    for i, part in enumerate(parts[:-1]):
        if not taken[i]:
            raise UserError(
                f"train_config.dense_optimizer.part_optimizers[{i}].regex_pattern: "
                f'"{part.pattern}" takes no parameter that an earlier part has not; '
                f"the parameters are {', '.join(names)}"
            )
    return taken


def make_state(optimizer: KeyedOptimizer) -> None:
    """Makes the state that torch would make in the first step, as it is before that step.

    Without state a checkpoint loads nothing into an optimizer, without a word. TorchRec's
    `init_state` makes it by a step with gradients of zero. That step must not count, or Adam
    corrects its first moments for a step too many, and weight decay must not take part in it.
    """
    spared = [
        {key: group[key] for key in ("lr", "weight_decay") if key in group}
        for group in optimizer.param_groups
    ]
    for group, options in zip(optimizer.param_groups, spared, strict=True):
        group.update(dict.fromkeys(options, 0.0))
    optimizer.init_state({})
    for group, options in zip(optimizer.param_groups, spared, strict=True):
        group.update(options)
    for state in optimizer.state.values():
        if "step" in state:
            state["step"].zero_()
    optimizer.zero_grad(set_to_none=True)


class Optimizers:
    """The fused and the dense optimizer of a sharded model, with the schedule of each.

    Args:
        model: sharded, its fused optimizer applied.
        sparse_schedule: of the embedding tables.
        parts: the optimizers of the other parameters, the one for what is left last.
        decay: of the moving average of the other parameters; None for no average.
        scaler: for FP16 layers, or None.

    Raises:
        UserError: a part without parameters.
    """

    def __init__(
        self,
        model: DistributedModelParallel,
        sparse_schedule: Schedule,
        parts: Sequence[Part],
        decay: float | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.fused: KeyedOptimizer = model.fused_optimizer
        dense = dict(in_backward_optimizer_filter(model.named_parameters()))
        # (key in a checkpoint, optimizer, schedule)
        self.dense: list[tuple[str, KeyedOptimizer, Schedule]] = []
        for i, (names, part) in enumerate(zip(divide(list(dense), parts), parts, strict=True)):
            if names:
                optimizer = KeyedOptimizerWrapper({name: dense[name] for name in names}, part.make)
                key = "dense" if i == len(parts) - 1 else f"part{i}"
                self.dense.append((key, optimizer, part.schedule))
        self.combined = CombinedOptimizer(
            [("fused", self.fused), *((key, optimizer) for key, optimizer, _ in self.dense)]
        )
        for _, optimizer, _ in self.dense:
            make_state(optimizer)
        self.sparse_schedule, self.dense_schedule = sparse_schedule, parts[-1].schedule
        self.average = Average(model, decay) if decay is not None else None
        self.scaling = Scaling(scaler, [optimizer for _, optimizer, _ in self.dense]) if scaler else None

    def begin(self, step: int, epoch: int) -> tuple[float, float]:
        """Sets the rates for a step and clears gradients; returns (sparse rate, dense rate).

        The fused update happens in the backward pass, so its rate must be set before.
        """
        scheduled = [(self.fused, self.sparse_schedule), *((part[1], part[2]) for part in self.dense)]
        for optimizer, schedule in scheduled:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, epoch)
        self.combined.zero_grad(set_to_none=True)
        return self.sparse_schedule.rate(step, epoch), self.dense_schedule.rate(step, epoch)

    def end(self, finite: bool = True) -> None:
        """Updates the dense parameters and their average; the fused ones were updated before.

        Args:
            finite: what `Scaling.unscale` has found; if not, nothing moves but the scale.
        """
        if self.scaling:
            self.scaling.step()
        else:
            for _, optimizer, _ in self.dense:
                optimizer.step()
        if self.average and finite:
            self.average.update()
