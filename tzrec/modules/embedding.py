"""Embedding tables of both towers as TorchRec collections, one for user rows and one for item rows.

Shape letters: B rows of users, M rows of items (positives, then negatives), F floats of a
tower's input, D floats of one feature.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, PoolingType

from tzrec.datasets.batch import Batch, Jagged, Layout
from tzrec.features.feature import IdFeature
from tzrec.runtime.errors import UserError, nearest

POOLING = {"sum": PoolingType.SUM, "mean": PoolingType.MEAN}


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


def collection(features: Sequence[IdFeature], device: torch.device) -> EmbeddingBagCollection | None:
    """One table for each table name, looked up by the features that name it; None without features."""
    by_table: dict[str, list[IdFeature]] = {}
    for feature in features:
        by_table.setdefault(feature.table.name, []).append(feature)
    if not by_table:
        return None
    for name, sharing in by_table.items():
        if len({feature.pooling for feature in sharing}) > 1:
            raise UserError(
                f'embedding_name "{name}": {", ".join(feature.name for feature in sharing)} share it and '
                "have different pooling, which is not built in this version; give them one pooling"
            )
    configs = [
        EmbeddingBagConfig(
            name=module_name(name),
            num_embeddings=sharing[0].table.rows,
            embedding_dim=sharing[0].table.dim,
            feature_names=[feature.name for feature in sharing],
            pooling=POOLING[sharing[0].pooling],
            init_fn=parse_init_fn(sharing[0].table.init_fn),
        )
        for name, sharing in by_table.items()
    ]
    return EmbeddingBagCollection(tables=configs, device=device)


class TwoSidedEmbedding(nn.Module):
    """From a batch to the inputs of the two towers.

    The order of a tower's input is the order of its feature group, whatever order the
    collection returns (that one changes with the sharding plan).

    Args:
        layout: of the batches.
        user_tower, item_tower: names of the features of each tower, in order.
        device: where the tables are made; "meta" when sharding will make them.
    """

    def __init__(
        self, layout: Layout, user_tower: Sequence[str], item_tower: Sequence[str], device: torch.device
    ) -> None:
        super().__init__()
        self.user = collection(layout.user, device)
        self.item = collection([*layout.item, *layout.lent], device)
        self.user_keys = [feature.name for feature in layout.user]
        self.item_keys = [feature.name for feature in (*layout.item, *layout.lent)]
        self.user_tower, self.item_tower = list(user_tower), list(item_tower)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(float32 [B, F_user], float32 [M, F_item])."""
        of_users = dict(batch.dense)
        # Waiting for one collection only after both were started overlaps their communication.
        waiting = []
        if self.user is not None:
            waiting.append(self.user(keyed(self.user_keys, batch.user, batch.rows)))
        if self.item is not None:
            waiting.append(self.item(keyed(self.item_keys, batch.item, batch.item_rows)))
        for pooled in waiting:
            of_users |= pooled.to_dict()
        user_BF = torch.cat([of_users[name][: batch.rows] for name in self.user_tower], dim=1)
        item_MF = torch.cat([of_users[name] for name in self.item_tower], dim=1)
        return user_BF, item_MF


def keyed(keys: list[str], ids: Jagged, rows: int) -> KeyedJaggedTensor:
    """The ids as TorchRec's type; `rows` is said because nothing else tells it for an empty batch."""
    return KeyedJaggedTensor(keys=keys, values=ids.values, lengths=ids.lengths, stride=rows)
