"""The batch and its layout: what goes from the loader to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from tzrec.features.feature import Feature, IdFeature, RawFeature
from tzrec.features.graph import in_step
from tzrec.features.outputs import Computed, Dense, DenseSequence, Sparse, SparseSequence, Table

# Collections of tables: pooled for B rows, pooled for M rows, pooled with weights; vectors as they are,
# and the same without training, each followed by its width, for TorchRec wants one in a collection.
USER, ITEM, WEIGHTED, SINGLE, FROZEN = "user", "item", "weighted", "single", "frozen"
POOLED = (USER, ITEM, WEIGHTED)


@dataclass(frozen=True)
class Lookup:
    """An id feature looked up in a table; groups with a suffix have tables of their own."""

    feature: IdFeature
    table: Table

    @property
    def name(self) -> str:
        """What its vectors are called; of one feature in two tables they are two."""
        own = self.table.name == self.feature.table.name
        return self.feature.name if own else f"{self.feature.name}@{self.table.name}"


# What a tower reads of a feature.
Part = Lookup | RawFeature


def feature_of(part: Part) -> Feature:
    return part.feature if isinstance(part, Lookup) else part


@dataclass(frozen=True)
class Layout:
    """Which feature lies where in a batch.

    User columns have B rows, item columns M = B + N + H rows: the positives, below them N
    negatives that all rows share, below these H hard negatives of single rows. Features that
    share an embedding table are looked up together, so a user feature whose table an item
    feature uses too stands with the items, without values in the rows below B; one that both
    towers use is an item column, read as far as row B.

    Where a table is looked up: tables of sequences, and frozen ones, give a vector for every
    id (SINGLE, FROZEN); the others give sums or means of a row (USER, ITEM, or WEIGHTED where
    ids have weights or features of one table are pooled differently).

    Attributes:
        user_features, item_features: computed for B and for M rows.
        lookups: of each collection that has any.
        aligned: names of features whose sequences have the same lengths in every row.
    """

    user_features: tuple[Feature, ...]
    item_features: tuple[Feature, ...]
    lookups: Mapping[str, tuple[Lookup, ...]]
    aligned: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(
        cls, user_tower: Iterable[Part], item_tower: Iterable[Part], aligned: Iterable[Sequence[str]] = ()
    ) -> Layout:
        """The layout for what the two towers read."""
        user, item = list(user_tower), list(item_tower)
        of_items = {feature_of(part).name: feature_of(part) for part in item}
        of_users = {
            feature_of(part).name: feature_of(part) for part in user if feature_of(part).name not in of_items
        }
        by_table: dict[str, dict[str, Lookup]] = {}
        for part in (*user, *item):
            if isinstance(part, Lookup):
                by_table.setdefault(part.table.name, {})[part.name] = part
        lookups: dict[str, list[Lookup]] = {}
        for sharing in by_table.values():
            lookups.setdefault(_place(list(sharing.values()), of_items), []).extend(sharing.values())
        return cls(
            tuple(of_users.values()),
            tuple(of_items.values()),
            {place: tuple(chosen) for place, chosen in lookups.items()},
            tuple(tuple(names) for names in aligned),
        )


def _place(sharing: Sequence[Lookup], of_items: Mapping[str, Feature]) -> str:
    """The collection of a table that these look up."""
    if not sharing[0].table.trainable:
        return f"{FROZEN}_{sharing[0].table.dim}"
    by_weight = any(one.feature.weighted for one in sharing)
    by_weight = by_weight or len({one.feature.pooling for one in sharing}) > 1
    # torch's own bags, which read a checkpoint without TorchRec's kernels, weigh float32 only.
    if any(one.feature.is_sequence for one in sharing) or (by_weight and sharing[0].table.half):
        return f"{SINGLE}_{sharing[0].table.dim}"
    if by_weight:
        return WEIGHTED
    return ITEM if any(lookup.feature.name in of_items for lookup in sharing) else USER


@dataclass
class Jagged:
    """Ids of K features over R rows, feature after feature.

    Attributes:
        values: int64 [V].
        lengths: int32 [K * R], summing to V.
        weights: float32 [V], of WEIGHTED only.
    """

    values: Tensor
    lengths: Tensor
    weights: Tensor | None = None


@dataclass
class Candidates:
    """What a row's positive stands against, beside the vectors: N shared and H hard negatives.

    Attributes:
        shared: N.
        masked: int64 [2, P], (row, shared negative) that do not stand against each other, by row; None
            for none.
        twins: int64 [2, P], (row, other row) whose items are the same, by row, in training on the items
            of the other rows; None for none.
        hard: int64 [2, H], the row of each hard negative and its place among those of the row.
        hard_width: hard negatives of a row at the most.
        log_q: float32 [M], log of the number of times that an item is expected among the candidates of
            a batch; None without that correction.
    """

    shared: int = 0
    masked: Tensor | None = None
    twins: Tensor | None = None
    hard: Tensor | None = None
    hard_width: int = 0
    log_q: Tensor | None = None


@dataclass
class Batch:
    """One step's rows.

    Attributes:
        rows: B, positives.
        item_rows: M = B + N + H, the rows of item columns.
        ids: of each collection of `Layout.lookups`; USER over B rows, the others over M.
        dense: float32 [B or M, D], or [E, D] of a sequence of E elements, by feature.
        lengths: int32 [B or M], elements of each row, by sequence feature.
        segments: int32, ids of each row or element, by feature of SINGLE and FROZEN.
        id_weights: float32 [V], by weighted feature of SINGLE and FROZEN.
        weights: float32 [B], the weight of each row in the loss; None when all are 1.
        candidates: what stands below the positives.
    """

    rows: int
    item_rows: int
    ids: dict[str, Jagged]
    dense: dict[str, Tensor]
    lengths: dict[str, Tensor] = field(default_factory=dict)
    segments: dict[str, Tensor] = field(default_factory=dict)
    id_weights: dict[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    candidates: Candidates = field(default_factory=Candidates)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return _mapped(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in memory from which copies to a GPU can overlap with its work."""
        return _mapped(self, lambda tensor: tensor.pin_memory())


def _mapped(value, change: Callable[[Tensor], Tensor]):
    """A batch, or a part of one, with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _mapped(each, change) for name, each in value.items()}
    if isinstance(value, Batch | Jagged | Candidates):
        return type(value)(**{f.name: _mapped(getattr(value, f.name), change) for f in fields(value)})
    return value


def collate(
    layout: Layout,
    computed: Mapping[str, Computed],
    rows: int,
    item_rows: int,
    weights: np.ndarray | None = None,
    candidates: Candidates | None = None,
) -> Batch:
    """One batch from the computed features.

    Args:
        layout: which feature lies where.
        computed: by name, over B rows for users and M rows for items.
        rows: B.
        item_rows: M.
        weights: float32 [B].
        candidates: what stands below the positives.

    Raises:
        BadValueError: sequences that are read together and differ in length.
    """
    computed = in_step(layout.aligned, computed)
    batch = Batch(
        rows=rows,
        item_rows=item_rows,
        ids={
            place: _jagged(place, lookups, computed, rows_in(place, rows, item_rows))
            for place, lookups in layout.lookups.items()
        },
        dense={},
        weights=None if weights is None else torch.from_numpy(np.array(weights, np.float32)),
        candidates=candidates or Candidates(),
    )
    for feature in (*layout.user_features, *layout.item_features):
        made = computed[feature.name]
        if isinstance(made, Dense | DenseSequence):
            # np.array copies: Arrow's buffers are read-only and torch must not share them.
            batch.dense[feature.name] = torch.from_numpy(np.array(made.values, np.float32))
        if isinstance(made, DenseSequence | SparseSequence):
            batch.lengths[feature.name] = torch.from_numpy(np.array(made.lengths, np.int32))
    for place, lookups in layout.lookups.items():
        for lookup in lookups if place not in POOLED else ():
            name = lookup.feature.name
            ids = computed[name]
            assert isinstance(ids, Sparse | SparseSequence)
            counts = ids.key_lengths if isinstance(ids, SparseSequence) else ids.lengths
            batch.segments[name] = torch.from_numpy(np.array(counts, np.int32))
            if ids.weights is not None:
                batch.id_weights[name] = torch.from_numpy(np.array(ids.weights, np.float32))
    return batch


def rows_in(place: str, rows: int, item_rows: int) -> int:
    """The rows of a collection's lookup.

    At least one where vectors are not pooled: TorchRec's collection of these cannot look up a batch
    without rows, and a row without ids adds nothing.
    """
    if place not in POOLED:
        return max(item_rows, 1)
    return rows if place == USER else item_rows


def _jagged(place: str, lookups: Sequence[Lookup], computed: Mapping[str, Computed], rows: int) -> Jagged:
    values, lengths, weights = [], [], []
    for lookup in lookups:
        ids = computed[lookup.feature.name]
        assert isinstance(ids, Sparse | SparseSequence)
        values.append(ids.values)
        lengths.append(_ids_a_row(ids))
        if len(ids.lengths) < rows:  # A user feature that is looked up with the items.
            lengths.append(np.zeros(rows - len(ids.lengths), np.int32))
        if place == WEIGHTED:
            weights.append(_pooling_weights(lookup, ids))
    return Jagged(
        torch.from_numpy(np.concatenate(values).astype(np.int64, copy=False)),
        torch.from_numpy(np.concatenate(lengths).astype(np.int32, copy=False)),
        torch.from_numpy(np.concatenate(weights)) if weights else None,
    )


def _ids_a_row(ids: Sparse | SparseSequence) -> np.ndarray:
    if isinstance(ids, Sparse):
        return ids.lengths
    before = np.concatenate([[0], np.cumsum(ids.key_lengths)])
    ends = np.cumsum(ids.lengths)
    return (before[ends] - before[ends - ids.lengths]).astype(np.int32)


def _pooling_weights(lookup: Lookup, ids: Sparse | SparseSequence) -> np.ndarray:
    """What each id counts in a sum, so that the sum is the feature's pooling."""
    weights = np.ones(len(ids.values), np.float32) if ids.weights is None else ids.weights
    if lookup.feature.pooling == "mean":
        weights = weights / np.repeat(ids.lengths, ids.lengths)
    return weights.astype(np.float32)


def serving_tensors(computed: Mapping[str, Computed]) -> dict[str, Tensor]:
    """The input of an exported model: `{feature}.values`, and its lengths, key_lengths and weights."""
    tensors = {}
    for name, feature in computed.items():
        for part in fields(feature):
            array = getattr(feature, part.name)
            # What the column had before the cut concerns no model.
            if array is not None and part.name != "given":
                tensors[f"{name}.{part.name}"] = torch.from_numpy(np.array(array))
    return tensors
