"""The batch and its layout: what goes from the loader to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from tzrec.features.feature import Dense, Feature, IdFeature, RawFeature, Sparse


@dataclass(frozen=True)
class Layout:
    """Which feature lies where in a batch.

    User columns have B rows, item columns M = B + N + H rows: the positives, below them N
    negatives that all rows share, below these H hard negatives of single rows. Features that
    share an embedding table are looked up together, so a user feature whose table an item
    feature uses too stands with the items, without values in the rows below B; one that both
    towers use is an item column, read as far as row B.

    Attributes:
        user: id features looked up for B rows.
        item: id features looked up for M rows.
        lent: user id features looked up with the items, after `item`.
        dense_user, dense_item: numeric features of B and of M rows.
    """

    user: tuple[IdFeature, ...]
    item: tuple[IdFeature, ...]
    lent: tuple[IdFeature, ...]
    dense_user: tuple[RawFeature, ...]
    dense_item: tuple[RawFeature, ...]

    @classmethod
    def of(cls, user_tower: Sequence[Feature], item_tower: Sequence[Feature]) -> Layout:
        """The layout for the features of the two towers."""
        item_names = {feature.name for feature in item_tower}
        users = [feature for feature in user_tower if feature.name not in item_names]
        item = tuple(feature for feature in item_tower if isinstance(feature, IdFeature))
        tables = {feature.table.name for feature in item}
        ids = [feature for feature in users if isinstance(feature, IdFeature)]
        return cls(
            user=tuple(feature for feature in ids if feature.table.name not in tables),
            item=item,
            lent=tuple(feature for feature in ids if feature.table.name in tables),
            dense_user=tuple(feature for feature in users if isinstance(feature, RawFeature)),
            dense_item=tuple(feature for feature in item_tower if isinstance(feature, RawFeature)),
        )

    @property
    def user_features(self) -> list[Feature]:
        """Those computed for B rows."""
        return [*self.user, *self.lent, *self.dense_user]

    @property
    def item_features(self) -> list[Feature]:
        """Those computed for M rows."""
        return [*self.item, *self.dense_item]


@dataclass
class Jagged:
    """Ids of K features over R rows, feature after feature.

    Attributes:
        values: int64 [V].
        lengths: int32 [K * R], summing to V.
    """

    values: Tensor
    lengths: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Jagged:
        return Jagged(
            self.values.to(device, non_blocking=non_blocking),
            self.lengths.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Jagged:
        return Jagged(self.values.pin_memory(), self.lengths.pin_memory())


@dataclass
class Candidates:
    """What a row's positive stands against, beside the vectors: N shared and H hard negatives.

    Attributes:
        shared: N.
        masked: int64 [2, P], (row, shared negative) that do not stand against each other; None for none.
        twins: int64 [2, P], (row, other row) whose items are the same, in training on the items of the
            other rows; None for none.
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

    def each(self, change: Callable[[Tensor], Tensor]) -> Candidates:
        """The same with every tensor changed."""

        def changed(value: Tensor | None) -> Tensor | None:
            return None if value is None else change(value)

        return replace(
            self,
            masked=changed(self.masked),
            twins=changed(self.twins),
            hard=changed(self.hard),
            log_q=changed(self.log_q),
        )


@dataclass
class Batch:
    """One step's rows.

    Attributes:
        rows: B, positives.
        item_rows: M = B + N + H; the rows of item columns.
        user: ids of `Layout.user` over B rows.
        item: ids of `Layout.item` and `Layout.lent` over M rows.
        dense: float32 [B or M, D] by feature name.
        weights: float32 [B], the weight of each row in the loss; None when all are 1.
        candidates: what stands below the positives.
    """

    rows: int
    item_rows: int
    user: Jagged
    item: Jagged
    dense: dict[str, Tensor]
    weights: Tensor | None = None
    candidates: Candidates = field(default_factory=Candidates)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return Batch(
            self.rows,
            self.item_rows,
            self.user.to(device, non_blocking),
            self.item.to(device, non_blocking),
            {name: values.to(device, non_blocking=non_blocking) for name, values in self.dense.items()},
            None if self.weights is None else self.weights.to(device, non_blocking=non_blocking),
            self.candidates.each(lambda tensor: tensor.to(device, non_blocking=non_blocking)),
        )

    def pin_memory(self) -> Batch:
        """The batch in memory from which copies to a GPU can overlap with its work."""
        return Batch(
            self.rows,
            self.item_rows,
            self.user.pin_memory(),
            self.item.pin_memory(),
            {name: values.pin_memory() for name, values in self.dense.items()},
            None if self.weights is None else self.weights.pin_memory(),
            self.candidates.each(Tensor.pin_memory),
        )


def collate(
    layout: Layout,
    computed: Mapping[str, Sparse | Dense],
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
    """
    padding = np.zeros(item_rows - rows, np.int32)
    user = [computed[feature.name] for feature in layout.user]
    item = [computed[feature.name] for feature in layout.item]
    for feature in layout.lent:
        lent = computed[feature.name]
        assert isinstance(lent, Sparse)
        item.append(Sparse(lent.values, np.concatenate([lent.lengths, padding])))
    dense = {}
    for raw in (*layout.dense_user, *layout.dense_item):
        # np.array copies: Arrow's buffers are read-only and torch must not share them.
        dense[raw.name] = torch.from_numpy(np.array(computed[raw.name].values, np.float32))
    return Batch(
        rows=rows,
        item_rows=item_rows,
        user=_jagged(user),
        item=_jagged(item),
        dense=dense,
        weights=None if weights is None else torch.from_numpy(np.array(weights, np.float32)),
        candidates=candidates or Candidates(),
    )


def _jagged(parts: Sequence[Sparse | Dense]) -> Jagged:
    sparse = [part for part in parts if isinstance(part, Sparse)]
    values = np.concatenate([part.values for part in sparse] or [np.zeros(0, np.int64)])
    lengths = np.concatenate([part.lengths for part in sparse] or [np.zeros(0, np.int32)])
    return Jagged(
        torch.from_numpy(values.astype(np.int64, copy=False)),
        torch.from_numpy(lengths.astype(np.int32, copy=False)),
    )


def serving_tensors(computed: Mapping[str, Sparse | Dense]) -> dict[str, Tensor]:
    """The input of an exported model: `{feature}.values` and, for ids, `{feature}.lengths`."""
    tensors = {}
    for name, feature in computed.items():
        tensors[f"{name}.values"] = torch.from_numpy(np.array(feature.values))
        if isinstance(feature, Sparse):
            tensors[f"{name}.lengths"] = torch.from_numpy(np.array(feature.lengths))
    return tensors
