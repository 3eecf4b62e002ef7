"""Learning rates over a run: plain functions of progress, counted in steps or in epochs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from tzrec.protos.optimizer_pb2 import DenseOptimizer, PartOptimizer, SparseOptimizer
from tzrec.runtime.errors import UserError

GREATEST = 3.4028234663852886e38  # of float32
# (steps or epochs done, base rate) -> rate
Curve = Callable[[float, float], float]


def constant(progress: float, base: float) -> float:
    """The base rate throughout."""
    return base


def warmed_up(curve: Curve, size: int, start: float) -> Curve:
    """Rises linearly from `start` to the base over `size`, then follows `curve` from its beginning."""

    def rate(progress: float, base: float) -> float:
        if progress < size:
            return start + (base - start) * progress / size
        return curve(progress - size, base)

    return rate


def exponential_decay(size: int, factor: float, staircase: bool, least: float) -> Curve:
    """base * factor ^ (progress / size), in whole steps of `size` with `staircase`, never below `least`."""

    def rate(progress: float, base: float) -> float:
        exponent = progress / size
        return max(base * factor ** (math.floor(exponent) if staircase else exponent), least)

    return rate


def manual_step(sizes: Sequence[int], rates: Sequence[float], warmup: bool) -> Curve:
    """The base rate before sizes[0], then rates[i] from sizes[i] on.

    With `warmup` the rate rises linearly from the base to rates[0] on the way to sizes[0].
    """

    def rate(progress: float, base: float) -> float:
        passed = sum(progress >= size for size in sizes)
        if passed:
            return rates[passed - 1]
        if warmup and sizes:
            return base + (rates[0] - base) * progress / sizes[0]
        return base

    return rate


def cosine(size: int, least: float) -> Curve:
    """Falls from the base to `least` over `size` along half a cosine, and stays there."""

    def rate(progress: float, base: float) -> float:
        return least + (base - least) * (1 + math.cos(math.pi * min(progress / size, 1))) / 2

    return rate


def cosine_restarts(size: int, growth: int, least: float) -> Curve:
    """`cosine`, begun again after each period; every period is `growth` times the one before.

    Loshchilov and Hutter, SGDR, ICLR 2017.
    """

    def rate(progress: float, base: float) -> float:
        period, place = float(size), progress
        if growth == 1:
            place = progress % size
        else:
            while place >= period:
                place -= period
                period *= growth
        return least + (base - least) * (1 + math.cos(math.pi * place / period)) / 2

    return rate


class Schedule:
    """The rate of one optimizer.

    Args:
        base: the rate of the optimizer's own configuration.
        curve: over progress.
        by_epoch: progress counts whole passes instead of steps.
    """

    def __init__(self, base: float, curve: Curve = constant, by_epoch: bool = False) -> None:
        self.base, self.curve, self.by_epoch = base, curve, by_epoch

    def rate(self, step: int, epoch: int) -> float:
        """The rate for the step after `step` steps, in the pass after `epoch` passes.

        Raises:
            UserError: the rate has grown beyond float32.
        """
        progress = epoch if self.by_epoch else step
        try:
            rate = self.curve(progress, self.base)
        except OverflowError:
            rate = math.inf
        if not rate <= GREATEST:
            raise UserError(
                f"learning_rate: after {progress} {'passes' if self.by_epoch else 'steps'} the rate is "
                f"{rate:g}, which no float32 holds; take a decay_factor of 1 or less, or a greater decay_size"
            )
        return rate


def build_schedule(config: SparseOptimizer | DenseOptimizer | PartOptimizer) -> Schedule:
    """The schedule of a validated optimizer configuration."""
    base = getattr(config, config.WhichOneof("optimizer")).lr
    kind = config.WhichOneof("learning_rate")
    if kind in (None, "constant_learning_rate"):
        return Schedule(base)
    chosen = getattr(config, kind)
    return Schedule(base, _curve(kind, chosen), chosen.by_epoch)


def _curve(kind: str, config: Any) -> Curve:
    if kind == "manual_step_learning_rate":
        return manual_step(list(config.schedule_sizes), list(config.learning_rates), config.warmup)
    if kind == "exponential_decay_learning_rate":
        curve = exponential_decay(
            config.decay_size, config.decay_factor, config.staircase, config.min_learning_rate
        )
    elif kind == "cosine_annealing_learning_rate":
        curve = cosine(config.T_max, config.min_learning_rate)
    else:
        curve = cosine_restarts(config.T_0, config.T_mult, config.min_learning_rate)
    if config.warmup_size:
        return warmed_up(curve, config.warmup_size, config.warmup_learning_rate)
    return curve
