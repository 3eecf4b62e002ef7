"""Weighted negatives for a batch, drawn with replacement, and the hard ones of its users.

Draws are shared by all rows of the batch. What may not stand against which row is the rule of the
sampler: never an item of the batch, or never an item with a positive edge to one of its users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.datasets.alias import draw
from tzrec.datasets.code_set import CodeSet
from tzrec.datasets.edges import Edges, ranges
from tzrec.datasets.keys import keys_of_each
from tzrec.datasets.negative_table import NegativeTable
from tzrec.features.values import is_list, is_text
from tzrec.runtime.errors import UserError

# Drawing again is cheap while most draws are good; past so many rounds the weights that are
# left are summed up and drawn from directly, which reads the whole pool once.
ROUNDS = 32


class Exclusion(Enum):
    """What a forbidden item is kept out of."""

    BATCH = "batch"  # Of the draws: it is a negative of no row.
    ROW = "row"  # Of the rows that forbid it; for the others it is a negative.
    NOTHING = "nothing"


@dataclass(frozen=True)
class Forbidden:
    """Which items the rows of a batch forbid, F pairs.

    Attributes:
        codes: int64 [F], keys of ids or rows of the pool.
        rows: int64 [F], the row of the batch of each, ascending.
        of_pool: int64 [N], the code of each row of the pool; None when codes are rows of the pool.
    """

    codes: np.ndarray
    rows: np.ndarray
    of_pool: np.ndarray | None

    def codes_of(self, drawn: np.ndarray) -> np.ndarray:
        """The codes of drawn rows of the pool."""
        return drawn if self.of_pool is None else self.of_pool[drawn]

    def pairs(self, drawn: np.ndarray) -> np.ndarray:
        """int64 [2, P], by row: (row of the batch, place among the draws) where a row forbids a draw."""
        codes = self.codes_of(drawn)
        found = np.flatnonzero(CodeSet(codes).has(self.codes))
        order = np.argsort(codes, kind="stable")
        codes, wanted = codes[order], self.codes[found]
        first = np.searchsorted(codes, wanted)
        times = np.searchsorted(codes, wanted, side="right") - first
        return np.stack([np.repeat(self.rows[found], times), order[ranges(first, times)]])


@dataclass(frozen=True)
class Drawn:
    """The negatives of one batch, as rows of the pool.

    Attributes:
        shared: int64 [N], for all rows.
        masked: int64 [2, P], (row of the batch, place among the N) that do not stand against each other,
            by row.
        hard: int64 [H], of single rows.
        hard_rows: int64 [H], the row of the batch that each belongs to, ascending.
    """

    shared: np.ndarray
    masked: np.ndarray
    hard: np.ndarray
    hard_rows: np.ndarray

    @classmethod
    def nothing(cls) -> Drawn:
        """No negatives."""
        return cls(np.empty(0, np.int64), np.empty((2, 0), np.int64), *[np.empty(0, np.int64)] * 2)

    @property
    def rows(self) -> np.ndarray:
        """int64 [N + H], shared ones first."""
        return np.concatenate([self.shared, self.hard]) if len(self.hard) else self.shared


class NegativeSampler:
    """Draws `count` items a batch with probability proportional to weight among the allowed ones.

    Args:
        table: the pool.
        count: negatives a batch.
        item_column: the column of a batch that holds the item ids.
        item_delimiter: between several ids in a text of that column.
        exclusion: what forbidden items are kept out of.
        positive: what users are known to like; None forbids the items of the batch instead.
        hard: what users have been shown and did not like; None for no hard negatives.
        hard_count: hard negatives a row at the most.
        user_column: the column of a batch that holds the user ids, for edges.
    """

    def __init__(
        self,
        table: NegativeTable,
        count: int,
        item_column: str,
        item_delimiter: str = ";",
        exclusion: Exclusion = Exclusion.BATCH,
        positive: Edges | None = None,
        hard: Edges | None = None,
        hard_count: int = 0,
        user_column: str = "",
    ) -> None:
        self.table = table
        self.count = count
        self.item_column = item_column
        self.item_delimiter = item_delimiter
        self.exclusion = exclusion
        self.positive = positive
        self.hard = hard
        self.hard_count = hard_count
        self.user_column = user_column

    def draw(self, columns: Mapping[str, pa.Array], generator: np.random.Generator) -> Drawn:
        """The negatives of a batch.

        Args:
            columns: of the batch, B rows each.
            generator: where the randomness comes from.

        Raises:
            UserError: everything that has weight is forbidden.
        """
        keys, key_rows = item_keys(columns[self.item_column], self.table.text_ids, self.item_delimiter)
        if self.positive is None:
            forbidden = Forbidden(keys, key_rows, self.table.keys)
        else:
            liked, rows = self.positive.of(columns[self.user_column])
            forbidden = Forbidden(liked, rows, None)
        if self.exclusion is Exclusion.BATCH:
            shared = draw_without(self.table, self.count, forbidden, generator)
        else:
            shared = draw(self.table.threshold, self.table.alias, self.count, generator)
        masked = np.empty((2, 0), np.int64)
        if self.exclusion is Exclusion.ROW:
            masked = forbidden.pairs(shared)
        hard, hard_rows = np.empty(0, np.int64), np.empty(0, np.int64)
        if self.hard is not None:
            hard, hard_rows = self.hard.draw(
                columns[self.user_column],
                self.hard_count,
                generator,
                lambda rows, items: _pair_in(rows, self.table.keys[items], key_rows, keys),
                int(np.bincount(key_rows).max(initial=0)),
            )
        return Drawn(shared, masked, hard, hard_rows)

    def extend(
        self, columns: Mapping[str, pa.Array], names: Sequence[str], drawn: Drawn
    ) -> dict[str, pa.Array]:
        """The item columns of a batch with those of its negatives below.

        Args:
            columns: the batch, B rows a column.
            names: of the item columns; each is an attribute of the pool.
            drawn: the negatives.

        Returns:
            the named columns, B + N + H rows each.
        """
        extended = {}
        for name, negatives in self.table.take(drawn.rows, names).items():
            positives = columns[name]
            if pa.types.is_dictionary(positives.type):
                positives = positives.dictionary_decode()
            extended[name] = pa.concat_arrays([positives, negatives.cast(positives.type)])
        return extended


def draw_without(
    table: NegativeTable, count: int, forbidden: Forbidden, generator: np.random.Generator
) -> np.ndarray:
    """`count` rows of the pool with replacement, none of them forbidden: int64 [count].

    Draws that hit a forbidden item are thrown away and others taken in their place, so what stays is
    distributed as the weights are among the allowed items.

    Args:
        table: the pool.
        count: how many.
        forbidden: what may not be drawn.
        generator: where the randomness comes from.

    Raises:
        UserError: every item that has weight is forbidden.
    """
    unwanted = CodeSet(forbidden.codes)
    kept: list[np.ndarray] = []
    # A few more than wanted, so that one round is mostly enough where the batch is a small part of the pool.
    missing, asked = count, count + min(count, len(forbidden.codes)) // 8
    for _ in range(ROUNDS):
        drawn = draw(table.threshold, table.alias, asked, generator)
        good = drawn[~unwanted.has(forbidden.codes_of(drawn))][:missing]
        kept.append(good)
        missing -= len(good)
        if not missing:
            return np.concatenate(kept)
        # A few more than the share of good draws asks for, so that two rounds are mostly enough.
        share = max(len(good) / asked, 0.01)
        asked = int(missing / share * 1.1) + 16
    kept.append(_draw_directly(table, missing, forbidden, unwanted, generator))
    return np.concatenate(kept)


def _draw_directly(
    table: NegativeTable, count: int, forbidden: Forbidden, unwanted: CodeSet, generator: np.random.Generator
) -> np.ndarray:
    rows = np.flatnonzero(table.weights)
    rows = rows[~unwanted.has(forbidden.codes_of(rows))]
    if not len(rows):
        everything = np.count_nonzero(table.weights)
        raise UserError(
            f"negative_sampler: one batch forbids all {everything} items of the pool that have weight, "
            "so that no negative is left; set a smaller data_config.batch_size, give a larger pool, "
            "or set exclusion: EXCLUDE_ROW, which keeps an item only from the rows that forbid it"
        )
    edges = np.cumsum(table.weights[rows])
    place = np.searchsorted(edges, generator.random(count) * edges[-1], side="right")
    return rows[np.minimum(place, len(rows) - 1)]


def item_keys(column: pa.Array, text_ids: bool, delimiter: str) -> tuple[np.ndarray, np.ndarray]:
    """The item ids of each row of a batch as keys.

    Args:
        column: ids, lists of ids, or texts in which a delimiter stands between ids; B rows.
        text_ids: whether the pool's ids are text.
        delimiter: "" when every text is one id.

    Returns:
        (int64 [F] keys, int64 [F] rows, ascending); a null has none.

    Raises:
        UserError: ids that are text where those of the pool are integers.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    rows = np.arange(len(column))
    several = pc.match_substring(column, delimiter) if is_text(column.type) and delimiter else None
    if several is not None and pc.any(several).as_py():
        # A text id may hold the delimiter itself: the whole text stands beside its parts.
        whole, whole_rows = rows[:0], rows[:0]
        if text_ids:
            whole, whole_rows = keys_of_each(pc.if_else(several, column, None), text_ids)
        parts, part_rows = item_keys(pc.split_pattern(column, delimiter), text_ids, "")
        order = np.argsort(np.concatenate([whole_rows, part_rows]), kind="stable")
        return np.concatenate([whole, parts])[order], np.concatenate([whole_rows, part_rows])[order]
    if is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        rows = np.repeat(rows, lengths)
        column = column.flatten()
    keys, kept = keys_of_each(column, text_ids)
    return keys, rows[kept]


def _pair_in(
    rows: np.ndarray, codes: np.ndarray, other_rows: np.ndarray, other_codes: np.ndarray
) -> np.ndarray:
    """bool [len(rows)]: which pairs (row, code) stand among the others too."""
    if len(other_rows) and np.array_equal(other_rows, np.arange(len(other_rows))):
        # As nearly always: one item a row, none without.
        return codes == other_codes[rows]
    # Codes become small numbers, so that a pair fits into one.
    _, small = np.unique(np.concatenate([codes, other_codes]), return_inverse=True)
    width = len(small)
    ours, others = small[: len(codes)], small[len(codes) :]
    return CodeSet(other_rows * width + others).has(rows * width + ours)
