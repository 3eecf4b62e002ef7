"""The model over the processes: tables divided by TorchRec's planner, dense layers replicated."""

import logging
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.types import ShardingEnv, ShardingPlan
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward

from tzrec.config.sharding_rules import BY_ROWS
from tzrec.modules.embedding import TwoSidedEmbedding
from tzrec.runtime.processes import join_group
from tzrec.runtime.world import World
from tzrec.training.optimizer import FusedOptimizer
from tzrec.training.placement import SHARDERS, describe_plan

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


def prepare_tables(model: nn.Module, fused: FusedOptimizer) -> None:
    """Has the embedding tables of a model trained by a fused optimizer, which a plan must know of."""
    for module in model.modules():
        if isinstance(module, EmbeddingBagCollection | EmbeddingCollection):
            # A copy: the call below writes into the options it is given.
            apply_optimizer_in_backward(fused.kind, module.parameters(), dict(fused.options))


def shard(
    model: nn.Module, plan: ShardingPlan, world: World, device: torch.device, fused: FusedOptimizer
) -> DistributedModelParallel:
    """Divides the embedding tables of `model` over the processes and replicates the rest.

    Args:
        model: embedding tables on the meta device, prepared; dense layers on the CPU.
        plan: where the tables go.
        world: the place of this process; the process group exists.
        device: where the model will run.
        fused: the optimizer of the embedding tables.
    """
    sharded = DistributedModelParallel(
        module=model,
        env=ShardingEnv(world.size, world.rank, dist.group.WORLD, output_dtensor=True),
        device=device,
        plan=plan,
        sharders=SHARDERS,
    )
    if fused.accumulator:
        _fill_accumulators(sharded, fused.accumulator)
    if world.size > 1 and any(place["sharding"] in BY_ROWS for place in describe_plan(sharded).values()):
        for module in sharded.modules():
            if isinstance(module, TwoSidedEmbedding):
                module.widen = most_rows
    return sharded


def most_rows(rows: int, item_rows: int) -> tuple[int, int]:
    """The most rows and item rows that any rank has in this step. Collective.

    The sums of a table whose rows lie on several ranks are scattered to the ranks in equal parts.
    """
    most = torch.tensor([rows, item_rows])
    dist.all_reduce(most, dist.ReduceOp.MAX)
    rows, item_rows = most.tolist()
    return rows, item_rows


def _fill_accumulators(model: DistributedModelParallel, value: float) -> None:
    """Adagrad's sums of squares begin at `value`; the fused kernels know only 0."""
    for state in model.fused_optimizer.state.values():
        for tensor in state.values():
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            for shard_of in local.local_shards() if hasattr(local, "local_shards") else [local]:
                shard_of.fill_(value)
