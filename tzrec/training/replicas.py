"""What every rank has a copy of: that the copies are the same, and are made so where they are not."""

import torch.distributed as dist
from torch import nn
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.optim.optimizers import in_backward_optimizer_filter

from tzrec.runtime.processes import gather
from tzrec.runtime.world import World


def average_statistics(model: nn.Module, world: World) -> None:
    """Gives every rank the mean of all ranks' batch normalisation statistics. Collective.

    Each rank has seen other rows. Training does not read these; evaluation and the export do,
    and their results must not depend on the rank.
    """
    for module in model.modules() if world.size > 1 else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for statistic in (module.running_mean, module.running_var):
                if statistic is not None:
                    dist.all_reduce(statistic)
                    statistic /= world.size


def check_replicas(model: DistributedModelParallel, world: World) -> None:
    """The dense layers must be the same on every rank, to the bit. Collective.

    Cheap beside a save, and the only sign when gradients are not averaged: every rank then
    trains a model of its own, and the losses look as they should.
    """
    sums = [
        parameter.detach().double().sum().item()
        for _, parameter in in_backward_optimizer_filter(model.named_parameters())
    ]
    if any(other != sums for other in gather(world, sums)):
        raise RuntimeError(
            "the dense parameters differ between the processes: their gradients are not averaged"
        )
