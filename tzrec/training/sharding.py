"""The model over the processes: tables divided by TorchRec's planner, dense layers replicated."""

import logging
import warnings
from typing import cast

import torch
import torch.distributed as dist
from torch import nn
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import ParameterConstraints
from torchrec.distributed.types import ModuleSharder, ShardingEnv, ShardingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward

from tzrec.runtime.processes import join_group
from tzrec.runtime.world import World
from tzrec.training.optimizer import FusedOptimizer

# Not data parallel: the planner likes it for tiny tables on CPU, where the fused optimizer
# is then ignored in silence. Not row-wise: it needs batches of one size on all ranks. Not
# column-wise: rows of the usual 16 floats are too short to be cut.
SHARDING = [ShardingType.TABLE_WISE.value]

# What the libraries say to their own developers, by name; each is about a call inside TorchRec.
logging.getLogger("torchrec.distributed.planner.types").setLevel(logging.ERROR)  # TopologyFactory
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)  # is_fx_tracing
for _message in (".*`broadcast_buffers` is deprecated", ".*deprecating ShardedTensor"):
    warnings.filterwarnings("ignore", _message, FutureWarning)


def choose_device(world: World) -> torch.device:
    """The GPU of this process, or the CPU where there is none."""
    if torch.cuda.is_available():
        device = torch.device("cuda", world.local_rank)
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")


def join(device: torch.device) -> None:
    """Makes the process group: gloo, and NCCL beside it for tensors on GPUs."""
    join_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def shard(
    model: nn.Module, world: World, device: torch.device, fused: FusedOptimizer
) -> DistributedModelParallel:
    """Divides the embedding tables of `model` over the processes and replicates the rest.

    Args:
        model: embedding tables on the meta device, dense layers on the CPU.
        world: the place of this process; the process group exists.
        device: where the model will run.
        fused: the optimizer of the embedding tables.
    """
    tables = [
        module
        for module in model.modules()
        if isinstance(module, EmbeddingBagCollection | EmbeddingCollection)
    ]
    for module in tables:
        # A copy: the call below writes into the options it is given.
        apply_optimizer_in_backward(fused.kind, module.parameters(), dict(fused.options))
    names = [
        config.name
        for module in tables
        for config in (
            module.embedding_bag_configs()
            if isinstance(module, EmbeddingBagCollection)
            else module.embedding_configs()
        )
    ]
    topology = Topology(
        world_size=world.size,
        compute_device=device.type,
        local_world_size=world.local_size,
        hbm_cap=torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None,
    )
    planner = EmbeddingShardingPlanner(
        topology=topology,
        constraints={name: ParameterConstraints(sharding_types=SHARDING) for name in names},
        # The default guesses the size of the dense layers, and warns of its own guess.
        storage_reservation=FixedPercentageStorageReservation(0.15),
        debug=False,
    )
    sharders = [
        cast(ModuleSharder[nn.Module], EmbeddingBagCollectionSharder()),
        cast(ModuleSharder[nn.Module], EmbeddingCollectionSharder()),
    ]
    # On every rank, not `collective_plan`: there an error on rank 0 leaves the others waiting.
    plan = planner.plan(model, sharders)
    group = dist.group.WORLD
    sharded = DistributedModelParallel(
        module=model,
        env=ShardingEnv(world.size, world.rank, group, output_dtensor=True),
        device=device,
        plan=plan,
        sharders=sharders,
    )
    if fused.accumulator:
        _fill_accumulators(sharded, fused.accumulator)
    return sharded


def _fill_accumulators(model: DistributedModelParallel, value: float) -> None:
    """Adagrad's sums of squares begin at `value`; the fused kernels know only 0."""
    for state in model.fused_optimizer.state.values():
        for tensor in state.values():
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            for shard_of in local.local_shards() if hasattr(local, "local_shards") else [local]:
                shard_of.fill_(value)


def describe_plan(model: DistributedModelParallel) -> dict[str, dict[str, object]]:
    """Which table lies where: {table: {"sharding": ..., "ranks": [...]}}; part of a checkpoint."""
    placed: dict[str, dict[str, object]] = {}
    for module_plan in model.plan.plan.values():
        for table, choice in module_plan.items():
            placed[table] = {"sharding": choice.sharding_type, "ranks": choice.ranks}
    return placed
