"""Embedding tables of both towers as TorchRec collections, and from a batch to the towers' inputs.

Shape letters: B rows of users, M rows of items (positives, then negatives), R rows of either, E
elements of sequences, V ids, F floats of a tower's input, D floats of one feature.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchrec import (
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingConfig,
    KeyedJaggedTensor,
    PoolingType,
)
from torchrec.types import DataType

from tzrec.config.torch_names import parse_init_fn
from tzrec.datasets.batch import FROZEN, POOLED, WEIGHTED, Batch, Jagged, Layout, Lookup, feature_of, rows_in
from tzrec.features.outputs import Table
from tzrec.modules.group import Group, GroupInput

# (rows, item rows) of this rank -> how many rows its lookups have.
Widen = Callable[[int, int], tuple[int, int]]


def initial_values(text: str) -> Callable[[Tensor], Tensor] | None:
    """`nn.init.uniform_,a=-0.01,b=0.01` as a function of a tensor; None for "".

    Raises:
        UserError: not a function of torch.nn.init that fills a table, or arguments that it cannot use.
    """
    name, options = parse_init_fn(text)
    return partial(getattr(nn.init, name), **options) if name else None


def padded_dim(dim: int) -> int:
    """The width that a table of this width has in memory: fbgemm reads and trains rows by fours."""
    return -(-dim // 4) * 4


def _beginning(table: Table) -> Callable[[Tensor], Tensor] | None:
    """What fills a table, or some rows of it: the columns that only fill up are 0, and stay so."""
    fill = initial_values(table.init_fn)
    if padded_dim(table.dim) == table.dim:
        return fill
    if fill is None:
        # As TorchRec does by default.
        bound = math.sqrt(1 / table.rows)
        fill = partial(nn.init.uniform_, a=-bound, b=bound)

    def begin(weight: Tensor) -> Tensor:
        with torch.no_grad():
            chosen = fill(torch.empty_like(weight[:, : table.dim], memory_format=torch.contiguous_format))
            weight.zero_()[:, : table.dim] = chosen
        return weight

    return begin


def module_name(table: str) -> str:
    """A table's name inside a model: no clash with what a ModuleDict defines ("items"), no dot."""
    return "table_" + table.replace("%", "%25").replace(".", "%2E")


def table_name(module: str) -> str:
    """The table that `module_name` gave this name."""
    return module.removeprefix("table_").replace("%2E", ".").replace("%25", "%")


def collection(
    place: str, lookups: Sequence[Lookup], device: torch.device
) -> EmbeddingBagCollection | EmbeddingCollection:
    """The tables of one collection of a layout, each looked up by the features that share it."""
    by_table: dict[str, list[Lookup]] = {}
    for lookup in lookups:
        by_table.setdefault(lookup.table.name, []).append(lookup)
    if place not in POOLED:
        tables = [EmbeddingConfig(**_options(sharing)) for sharing in by_table.values()]
        return EmbeddingCollection(tables=tables, device=device)
    bags = [
        EmbeddingBagConfig(
            **_options(sharing),
            # Means are divided below: where a table's rows lie on several ranks TorchRec divides by the
            # count + 1e-6, elsewhere by the count. Weights say what each id counts, means included.
            pooling=PoolingType.SUM,
        )
        for sharing in by_table.values()
    ]
    return EmbeddingBagCollection(tables=bags, device=device, is_weighted=place == WEIGHTED)


def _options(sharing: Sequence[Lookup]) -> dict[str, Any]:
    table = sharing[0].table
    return {
        "name": module_name(table.name),
        "num_embeddings": table.rows,
        "embedding_dim": padded_dim(table.dim),
        "feature_names": [lookup.name for lookup in sharing],
        "init_fn": _beginning(table),
        "data_type": DataType.FP16 if table.half else DataType.FP32,
    }


class TwoSidedEmbedding(nn.Module):
    """From a batch to the inputs of the two towers.

    The order of a tower's input is the order of its feature group, whatever order the
    collection returns (that one changes with the sharding plan).

    Args:
        layout: of the batches.
        user, item: what each tower reads.
        device: where the tables are made; "meta" when sharding will make them.

    Attributes:
        widen: set by sharding where a table's rows lie on several ranks; every rank's pooled lookups
            then have as many rows as those of the rank with the most. The rows more are empty.
    """

    def __init__(self, layout: Layout, user: Group, item: Group, device: torch.device) -> None:
        super().__init__()
        self.layout = layout
        self.tables = nn.ModuleDict(
            {place: collection(place, lookups, device) for place, lookups in layout.lookups.items()}
        )
        self.keys = {place: [one.name for one in lookups] for place, lookups in layout.lookups.items()}
        self.user, self.item = GroupInput(user), GroupInput(item)
        self.widen: Widen | None = None

    def look_up(self, batches: Sequence[Batch]) -> list[dict[str, Tensor]]:
        """What the tables have for some batches, in one lookup of each collection.

        The fused optimizers update in the backward pass of a lookup, so one lookup is one update.

        Returns:
            for each batch, by the name of the lookup: float32 [B or M, D] where it is pooled, else
            [V, D], a vector for every id.
        """
        # Waiting for one collection only after all were started overlaps their communication.
        waiting = {}
        wide = sum(batch.rows for batch in batches), sum(batch.item_rows for batch in batches)
        if self.widen:
            wide = self.widen(*wide)
        for place, tables in self.tables.items():
            rows = [rows_in(place, batch.rows, batch.item_rows) for batch in batches]
            ids, counts = joined([batch.ids[place] for batch in batches], rows, len(self.keys[place]))
            most = rows_in(place, *wide) if place in POOLED else sum(rows)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not place.startswith(FROZEN)):
                found = tables(keyed(self.keys[place], ids, sum(rows), most))
            waiting[place] = found, ids, rows, counts
        vectors: list[dict[str, Tensor]] = [{} for _ in batches]
        for place, (found, ids, rows, counts) in waiting.items():
            of_all = found.to_dict() if place in POOLED else found
            for number, lookup in enumerate(self.layout.lookups[place]):
                if place in POOLED:
                    whole = of_all[lookup.name][: sum(rows)].float()
                    if place != WEIGHTED and lookup.feature.pooling == "mean":
                        own = ids.lengths.view(len(self.keys[place]), -1)[number]
                        whole = whole / own.clamp(min=1).unsqueeze(1)
                    sizes = rows
                else:
                    whole = of_all[lookup.name].values().float()
                    sizes = [count[number] for count in counts] or [len(whole)]
                for one, part in zip(vectors, whole[:, : lookup.table.dim].split(sizes), strict=True):
                    one[lookup.name] = part
        return vectors

    def forward(self, batch: Batch, looked_up: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """(float32 [B, F_user], float32 [M, F_item]).

        Args:
            batch: ids and numbers.
            looked_up: what `look_up` has found for it; None looks up here.
        """
        found = self.look_up([batch])[0] if looked_up is None else looked_up
        vectors = {**batch.dense, **found}
        for place, lookups in self.layout.lookups.items():
            for lookup in () if place in POOLED else lookups:
                name = lookup.feature.name
                vectors[lookup.name] = pooled(
                    found[lookup.name],
                    batch.segments[name],
                    batch.id_weights.get(name),
                    lookup.feature.pooling == "mean",
                )
        return (
            self.user(*narrowed(self.user.group, vectors, batch.lengths, batch.rows)),
            self.item(vectors, batch.lengths),
        )


def narrowed(
    group: Group, vectors: dict[str, Tensor], lengths: dict[str, Tensor], rows: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The first rows of what a group reads: features that both towers use go on below them."""
    chosen, counts = {}, {}
    for part in group.all_parts:
        feature, found = feature_of(part), vectors[part.name]
        if feature.is_sequence:
            whole = lengths[feature.name]
            counts[feature.name] = whole[:rows]
            if len(whole) > rows:
                found = found[: int(whole[:rows].sum())]
        else:
            found = found[:rows]
        chosen[part.name] = found
    return chosen, counts


def pooled(vectors_VD: Tensor, segments: Tensor, weights_V: Tensor | None, mean: bool) -> Tensor:
    """Sums or means of the vectors of each row or element: float32 [R or E, D]; none gives zeros.

    Args:
        vectors_VD: of every id.
        segments: integers, ids of each row or element, summing to V.
        weights_V: of every id; 1 when None.
        mean: divide by the count of ids.
    """
    if weights_V is not None:
        vectors_VD = vectors_VD * weights_V.unsqueeze(1)
    counts = segments.long()
    owners = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    total = vectors_VD.new_zeros(len(counts), vectors_VD.shape[1]).index_add(0, owners, vectors_VD)
    return total / counts.clamp(min=1).unsqueeze(1) if mean else total


def joined(parts: Sequence[Jagged], rows: Sequence[int], keys: int) -> tuple[Jagged, list[list[int]]]:
    """The ids of several batches as those of one, whose rows are theirs one after the other.

    Args:
        parts: ids of the same features.
        rows: of each part.
        keys: count of the features.

    Returns:
        all ids, and for each part the ids of each feature; no counts for one part, whose copy from
        a GPU would be waited for.
    """
    if len(parts) == 1:
        return parts[0], []
    by_key = [part.lengths.view(keys, count) for part, count in zip(parts, rows, strict=True)]
    counts = [lengths.sum(dim=1).tolist() for lengths in by_key]

    def interleaved(tensors: Sequence[Tensor]) -> Tensor:
        pieces = [tensor.split(count) for tensor, count in zip(tensors, counts, strict=True)]
        return torch.cat([piece[key] for key in range(keys) for piece in pieces])

    weights = [part.weights for part in parts if part.weights is not None]
    return Jagged(
        interleaved([part.values for part in parts]),
        torch.cat(by_key, dim=1).reshape(-1),
        interleaved(weights) if weights else None,
    ), counts


def keyed(keys: list[str], ids: Jagged, rows: int, wide: int) -> KeyedJaggedTensor:
    """The ids of some rows as TorchRec's type, with empty rows below them up to `wide`.

    The number of rows is said because nothing else tells it for an empty batch.
    """
    lengths = ids.lengths
    if wide > rows:
        lengths = nn.functional.pad(lengths.view(len(keys), rows), (0, wide - rows)).flatten()
    return KeyedJaggedTensor(keys=keys, values=ids.values, lengths=lengths, weights=ids.weights, stride=wide)
