"""Which embedding table lies where: what TorchRec's planner may choose from, and what it chose.

Every kind of sharding here trains the same model up to rounding. A kind that would not is refused,
by `config/sharding_rules.py` or here where the device or the lookups decide.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import ParameterConstraints, PlannerError
from torchrec.distributed.types import ModuleSharder, ShardingPlan
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection

from tzrec.config.sharding_rules import FUSED, ROW_WISE, SHARDING_TYPES, TABLE_WISE, can_be_cut
from tzrec.datasets.batch import POOLED, Layout
from tzrec.features.outputs import Limits, Table
from tzrec.modules.embedding import module_name, table_name
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import gather
from tzrec.runtime.world import World

# TorchRec has these for tables whose vectors are not pooled.
_UNPOOLED = (TABLE_WISE, ROW_WISE, "column_wise")


class _Bags(EmbeddingBagCollectionSharder):
    """All kinds on every device; TorchRec offers those that cut rows apart on CUDA only."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return list(SHARDING_TYPES)


SHARDERS = [
    cast(ModuleSharder[nn.Module], _Bags()),
    cast(ModuleSharder[nn.Module], EmbeddingCollectionSharder()),
]


def limits_of(layout: Layout, common: Limits, world: World, device: torch.device) -> dict[str, Limits]:
    """What the planner may choose for each table, by name.

    Without constraints a table lies whole on one rank or its rows on all of them, whichever the
    planner takes for faster, or has room for.

    Args:
        layout: every lookup of every table.
        common: of tables whose features say nothing.
        world, device: where the model will run.

    Raises:
        UserError: a kind or kernel that the lookups of the table or the device do not have.
    """
    chosen: dict[str, Limits] = {}
    for place, lookups in layout.lookups.items():
        for lookup in lookups:
            table = lookup.table
            own = table.limits.over(chosen.get(table.name, Limits()))
            chosen[table.name] = own
            for kind in own.over(common).sharding_types:
                if place not in POOLED and kind not in _UNPOOLED:
                    raise UserError(
                        f'sharding_types: the table "{table.name}" of "{lookup.name}" is looked up id by id, '
                        f"which {kind} cannot; take some of {', '.join(_UNPOOLED)} in the feature's "
                        "embedding_constraints"
                    )
    tables = {lookup.table.name: lookup.table for each in layout.lookups.values() for lookup in each}
    return {
        name: _completed(tables[name], limits.over(common), world, device) for name, limits in chosen.items()
    }


def _completed(table: Table, limits: Limits, world: World, device: torch.device) -> Limits:
    if device.type != "cuda" and (other := [kernel for kernel in limits.kernels if kernel != FUSED]):
        raise UserError(
            f'compute_kernels: "{other[0]}", for the table "{table.name}", is built on CUDA only, this run is on '
            f"{device.type}; there take {FUSED}"
        )
    whole = world.size == 1 or not can_be_cut(table.init_fn)
    return limits.over(Limits((TABLE_WISE,) if whole else (TABLE_WISE, ROW_WISE), (FUSED,)))


def make_plan(
    model: nn.Module, limits: Mapping[str, Limits], world: World, device: torch.device, batch_size: int
) -> ShardingPlan:
    """The planner's choice, the same on all ranks. Collective.

    Args:
        model: its embedding tables know their optimizer.
        limits: of every table, by name.
        world, device: where the model will run.
        batch_size: rows of a step on each rank.

    Raises:
        UserError: the tables do not fit.
    """
    memory = min(gather(world, host_memory() // world.local_size))
    topology = Topology(
        world_size=world.size,
        compute_device=device.type,
        local_world_size=world.local_size,
        hbm_cap=torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None,
        ddr_cap=memory,
    )
    planner = EmbeddingShardingPlanner(
        topology=topology,
        batch_size=batch_size,
        constraints={
            module_name(name): ParameterConstraints(
                sharding_types=list(each.sharding_types), compute_kernels=list(each.kernels)
            )
            for name, each in limits.items()
        },
        # The default guesses the size of the dense layers, and warns of its own guess.
        storage_reservation=FixedPercentageStorageReservation(0.15),
        debug=False,
    )
    # One rank's choice: the planner goes through sets of words, whose order differs between
    # processes. Not `collective_plan`: there an error on the first rank leaves the others waiting.
    plan: ShardingPlan | None = None
    problem = ""
    if world.is_first:
        try:
            plan = planner.plan(model, SHARDERS)
        except PlannerError as error:
            problem = f"{error.error_type.value.replace('_', ' ')}"
    plan, problem = gather(world, (plan, problem))[0]
    if plan is None:
        raise UserError(
            f"the embedding tables, {_size(model) / 2**30:.1f} GiB, find no place on {world.size} processes with "
            f"{memory / 2**30:.1f} GiB of memory each ({problem}); start more processes on other hosts, make the "
            f"tables smaller, or allow {ROW_WISE} where embedding_constraints do not"
        )
    return plan


def _size(model: nn.Module) -> int:
    """Bytes of all tables, without the state of their optimizer."""
    return sum(
        parameter.numel() * parameter.element_size()
        for module in model.modules()
        if isinstance(module, EmbeddingBagCollection | EmbeddingCollection)
        for parameter in module.parameters()
    )


def host_memory() -> int:
    """Bytes of memory that the processes of this host may use together."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        # Of a container; "max" where there is no limit.
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return physical


def describe_plan(model: DistributedModelParallel) -> dict[str, dict[str, Any]]:
    """Which table lies where: {table: {"sharding": ..., "ranks": [...]}}; part of a checkpoint."""
    placed: dict[str, dict[str, Any]] = {}
    for module_plan in model.plan.plan.values():
        for table, choice in module_plan.items():
            placed[table] = {"sharding": choice.sharding_type, "ranks": choice.ranks}
    return placed


def show_plan(placed: Mapping[str, Mapping[str, Any]]) -> str:
    """`embedding tables: a, b table_wise on rank 0; c row_wise on ranks 0, 1`."""
    together: dict[str, list[str]] = {}
    for table, place in sorted(placed.items()):
        ranks = sorted(set(place["ranks"]))
        several = "ranks" if len(ranks) > 1 else "rank"
        where = f"{place['sharding']} on {several} {', '.join(map(str, ranks))}"
        together.setdefault(where, []).append(table_name(table))
    return "embedding tables: " + "; ".join(
        f"{', '.join(names)} {where}" for where, names in together.items()
    )
