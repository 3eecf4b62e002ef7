"""Embedding tables of both towers as TorchRec collections, and from a batch to the towers' inputs.

Shape letters: B rows of users, M rows of items (positives, then negatives), R rows of either, E
elements of sequences, V ids, F floats of a tower's input, D floats of one feature.
"""

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

from tzrec.datasets.batch import FROZEN, POOLED, WEIGHTED, Batch, Jagged, Layout, Lookup, feature_of, rows_in
from tzrec.modules.group import Group, GroupInput
from tzrec.runtime.errors import UserError, nearest

# (rows, item rows) of this rank -> how many rows its lookups have.
Widen = Callable[[int, int], tuple[int, int]]


def parse_init_fn(text: str) -> Callable[[Tensor], Tensor] | None:
    """`nn.init.uniform_,a=-0.01,b=0.01` as a function of a tensor; None for "".

    Raises:
        UserError: not the name of a function of torch.nn.init, or an argument that is no number.
    """
    if not text:
        return None
    name, *arguments = (part.strip() for part in text.split(","))
    short = name.removeprefix("torch.").removeprefix("nn.init.")
    known = [word for word in dir(nn.init) if word.endswith("_") and not word.startswith("_")]
    if short not in known:
        raise UserError(f'init_fn: no function "{name}" in nn.init{nearest(short, known)}')
    try:
        options = {key.strip(): float(value) for key, value in (part.split("=") for part in arguments)}
    except ValueError:
        raise UserError(f'init_fn: "{text}" is not nn.init.NAME,argument=number,...') from None
    return partial(getattr(nn.init, short), **options)


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
        "embedding_dim": table.dim,
        "feature_names": [lookup.name for lookup in sharing],
        "init_fn": parse_init_fn(table.init_fn),
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

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(float32 [B, F_user], float32 [M, F_item])."""
        vectors = dict(batch.dense)
        # Waiting for one collection only after all were started overlaps their communication.
        waiting = {}
        wide = self.widen(batch.rows, batch.item_rows) if self.widen else (batch.rows, batch.item_rows)
        for place, tables in self.tables.items():
            rows = rows_in(place, batch.rows, batch.item_rows)
            ids = keyed(
                self.keys[place],
                batch.ids[place],
                rows,
                rows_in(place, *wide) if place in POOLED else rows,
            )
            with torch.set_grad_enabled(torch.is_grad_enabled() and not place.startswith(FROZEN)):
                waiting[place] = tables(ids)
        for place, found in waiting.items():
            if place in POOLED:
                rows = rows_in(place, batch.rows, batch.item_rows)
                lengths_KR = batch.ids[place].lengths.view(len(self.keys[place]), rows)
                of = found.to_dict()
                for lookup, counts in zip(self.layout.lookups[place], lengths_KR, strict=True):
                    vector = of[lookup.name][:rows].float()
                    if place != WEIGHTED and lookup.feature.pooling == "mean":
                        vector = vector / counts.clamp(min=1).unsqueeze(1)
                    vectors[lookup.name] = vector
                continue
            for lookup in self.layout.lookups[place]:
                name = lookup.feature.name
                vectors[lookup.name] = pooled(
                    found[lookup.name].values().float(),
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


def keyed(keys: list[str], ids: Jagged, rows: int, wide: int) -> KeyedJaggedTensor:
    """The ids of some rows as TorchRec's type, with empty rows below them up to `wide`.

    The number of rows is said because nothing else tells it for an empty batch.
    """
    lengths = ids.lengths
    if wide > rows:
        lengths = nn.functional.pad(lengths.view(len(keys), rows), (0, wide - rows)).flatten()
    return KeyedJaggedTensor(keys=keys, values=ids.values, lengths=lengths, weights=ids.weights, stride=wide)
