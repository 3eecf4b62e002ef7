"""Weighted negatives for a batch, drawn with replacement and never an item of the batch."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tzrec.datasets.alias import draw
from tzrec.datasets.negative_table import NegativeTable
from tzrec.runtime.errors import UserError

# Drawing again is cheap while most draws are good; past so many rounds the weights that are
# left are summed up and drawn from directly, which reads the whole pool once.
ROUNDS = 32


class NegativeSampler:
    """Draws `count` items a batch with probability proportional to weight among the allowed ones.

    Draws are shared by all rows of the batch. An item of weight 0 and an item of the batch
    are never drawn.

    Args:
        table: the pool.
        count: negatives a batch.
        item_column: the column of a batch that holds the item ids.
    """

    def __init__(self, table: NegativeTable, count: int, item_column: str) -> None:
        self.table = table
        self.count = count
        self.item_column = item_column

    def draw_rows(self, ids: pa.Array, generator: np.random.Generator) -> np.ndarray:
        """Rows of the pool, int64 [count], for a batch with these item ids.

        Raises:
            UserError: the batch covers every item that has weight.
        """
        return draw_without(self.table, self.count, self.table.rows_of(ids), generator)

    def extend(
        self, columns: dict[str, pa.Array], names: Sequence[str], generator: np.random.Generator
    ) -> dict[str, pa.Array]:
        """The item columns of a batch with those of its negatives below.

        Args:
            columns: the batch, B rows a column.
            names: of the item columns; each is an attribute of the pool.
            generator: where the randomness comes from.

        Returns:
            the named columns, B + count rows each.
        """
        drawn = self.table.take(self.draw_rows(columns[self.item_column], generator), names)
        extended = {}
        for name in names:
            positives = columns[name]
            if pa.types.is_dictionary(positives.type):
                positives = positives.dictionary_decode()
            extended[name] = pa.concat_arrays([positives, drawn[name].cast(positives.type)])
        return extended


def draw_without(
    table: NegativeTable, count: int, excluded: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """`count` rows of the pool with replacement, none of them excluded: int64 [count].

    Args:
        table: the pool.
        count: how many.
        excluded: int64 [E], rows that may not be drawn, ascending.
        generator: where the randomness comes from.

    Raises:
        UserError: every item that has weight is excluded.
    """
    drawn = draw(table.threshold, table.alias, count, generator)
    if not len(excluded):
        return drawn
    for _ in range(ROUNDS):
        place = np.minimum(np.searchsorted(excluded, drawn), len(excluded) - 1)
        again = np.flatnonzero(excluded[place] == drawn)
        if not len(again):
            return drawn
        drawn[again] = draw(table.threshold, table.alias, len(again), generator)
    return _draw_directly(table.weights, count, excluded, generator)


def _draw_directly(
    weights: np.ndarray, count: int, excluded: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    allowed = np.array(weights)
    allowed[excluded] = 0
    kept = np.flatnonzero(allowed)
    if not len(kept):
        raise UserError(
            f"negative_sampler: one batch holds all {int((weights > 0).sum())} items of the pool that have "
            "weight, so that no negative is left; set a smaller data_config.batch_size or give a larger pool"
        )
    edges = np.cumsum(allowed[kept])
    place = np.searchsorted(edges, generator.random(count) * edges[-1], side="right")
    return kept[np.minimum(place, len(kept) - 1)]
