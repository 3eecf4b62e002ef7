"""Which embedding table lies where: what TorchRec's planner may choose from, and what it chose.

Every kind of sharding here trains the same model up to rounding. A kind that would not is refused,
by `config/sharding_rules.py` or here where the device or the lookups decide.
"""

from collections.abc import Mapping, Sequence
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
from tzrec.runtime.world import World, host_memory

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


def limits_of(layout: Layout, common: Limits, device: torch.device) -> dict[str, Limits]:
    """What the planner may choose for each table, by name; no sharding types where it is free.

    Args:
        layout: every lookup of every table.
        common: of tables whose features say nothing.
        device: where the model will run.

    Raises:
        UserError: a kind or kernel that the lookups of the table or the device do not have.
    """
    chosen: dict[str, Limits] = {}
    for place, lookups in layout.lookups.items():
        for lookup in lookups:
            name = lookup.table.name
            # Of features that share a table one may say it for all.
            chosen[name] = chosen.get(name, Limits()).over(lookup.table.limits)
        for table in {lookup.table.name: lookup.table for lookup in lookups}.values():
            limits = chosen[table.name] = chosen[table.name].over(common)
            _check(table, limits, place in POOLED, device)
            if not limits.sharding_types and not can_be_cut(table.init_fn):
                chosen[table.name] = limits.over(Limits((TABLE_WISE,)))
    return chosen


def _check(table: Table, limits: Limits, pooled: bool, device: torch.device) -> None:
    for kind in limits.sharding_types:
        if not pooled and kind not in _UNPOOLED:
            raise UserError(
                f'sharding_types: "{kind}" is not to be had for the table "{table.name}", which is looked up '
                f"id by id (for a sequence, or frozen); take some of {', '.join(_UNPOOLED)} in "
                "embedding_constraints of its feature"
            )
    for kernel in limits.kernels:
        if kernel != FUSED and device.type != "cuda":
            raise UserError(
                f'compute_kernels: "{kernel}", for the table "{table.name}", is built on CUDA only, this run '
                f"is on {device.type}; there take {FUSED}"
            )


def make_plan(
    model: nn.Module, limits: Mapping[str, Limits], world: World, device: torch.device, batch_size: int
) -> ShardingPlan:
    """The planner's choice, the same on all ranks. Collective.

    A table without sharding types lies whole on one rank. Where there is no room for that, the planner
    may cut the rows of the largest such table, then of the two largest, of four and so on: asked at
    once, TorchRec's model of costs would cut the smallest ones too, which gains nothing.

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
    tables = _tables(model)
    free = [name for name, each in limits.items() if not each.sharding_types]
    free.sort(key=lambda name: -tables[name].nbytes)

    def attempt(cut: list[str]) -> ShardingPlan:
        constraints = {}
        for name, each in limits.items():
            kinds = each.sharding_types or ((TABLE_WISE, ROW_WISE) if name in cut else (TABLE_WISE,))
            constraints[module_name(name)] = ParameterConstraints(
                sharding_types=possible(kinds, tables[name].shape[0], world),
                compute_kernels=list(each.kernels or (FUSED,)),
            )
        planner = EmbeddingShardingPlanner(
            topology=topology,
            batch_size=batch_size,
            constraints=constraints,
            # The default guesses the size of the dense layers, and warns of its own guess.
            storage_reservation=FixedPercentageStorageReservation(0.15),
            debug=False,
        )
        return planner.plan(model, SHARDERS)

    # One rank's choice: the planner goes through sets of words, whose order differs between
    # processes. Not `collective_plan`: there an error on the first rank leaves the others waiting.
    plan: ShardingPlan | None = None
    cut = 0
    while world.is_first and plan is None:
        try:
            plan = attempt(free[:cut])
        except PlannerError:
            if cut >= len(free) or world.size == 1:
                break
            cut = min(max(2 * cut, 1), len(free))
    plan = gather(world, plan)[0]
    if plan is None:
        size = sum(table.nbytes for table in tables.values())
        raise UserError(
            f"the embedding tables, {size / 2**30:.1f} GiB without the state of their optimizer and what "
            f"batches of {batch_size} rows look up, find no place on {world.size} processes "
            f"({memory / 2**30:.1f} GiB of host memory each); start more processes on more hosts, make the "
            f"tables or batch_size smaller, or allow {ROW_WISE} in embedding_constraints"
        )
    return plan


def possible(kinds: Sequence[str], rows: int, world: World) -> list[str]:
    """The kinds that give every rank rows of a table; table-wise if none does.

    A rank's piece has the rows over the ranks, rounded up, so that the last ones may get none; a
    piece without rows fails in the backward pass of fbgemm's CPU kernels.
    """

    def reaches_all(parts: int) -> bool:
        return -(-rows // parts) * (parts - 1) < rows

    parts = {ROW_WISE: world.size, "table_row_wise": world.local_size}
    return [kind for kind in kinds if reaches_all(parts.get(kind, 1))] or [TABLE_WISE]


def _tables(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of every table, by name."""
    return {
        table_name(path.split(".")[-2]): parameter
        for module in model.modules()
        if isinstance(module, EmbeddingBagCollection | EmbeddingCollection)
        for path, parameter in module.named_parameters()
    }


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
