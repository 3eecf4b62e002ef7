"""What each row of a batch stands against: negatives drawn and given, what is masked, how often it occurs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from tzrec.datasets.batch import Candidates
from tzrec.datasets.edges import ranges
from tzrec.datasets.frequency import Frequency
from tzrec.datasets.sampler import Drawn, NegativeSampler, item_keys


@dataclass(frozen=True)
class InBatch:
    """What a model makes of the items of the other rows.

    Attributes:
        negatives: they are negatives.
        mask_twins: but not where they are the row's own item.
        logq_correction: scores are corrected for how often a candidate is among those of a batch.
    """

    negatives: bool = False
    mask_twins: bool = False
    logq_correction: bool = False

    @property
    def needs_ids(self) -> bool:
        return self.mask_twins or self.logq_correction


NOT_IN_BATCH = InBatch()


class CandidateMaker:
    """Draws the negatives of a batch and works out which of them no candidates are.

    Args:
        sampler: None without sampled negatives.
        item_column: the column of a batch that holds the item ids; "" when nothing needs them.
        text_ids: whether these are text.
        item_delimiter: between several ids in a text of that column.
        in_batch: what the items of the other rows are.
        frequency: of the items among the positives, for the correction of the scores; None without it.
    """

    def __init__(
        self,
        sampler: NegativeSampler | None,
        item_column: str,
        text_ids: bool,
        item_delimiter: str,
        in_batch: InBatch,
        frequency: Frequency | None = None,
    ) -> None:
        self.sampler = sampler
        self.item_column = item_column
        self.text_ids = text_ids
        self.item_delimiter = item_delimiter
        self.in_batch = in_batch
        self.frequency = frequency

    def __call__(
        self, columns: Mapping[str, pa.Array], rows: int, generator: np.random.Generator
    ) -> tuple[Drawn, Candidates]:
        """(negatives as rows of the pool, what the model is told of them).

        Args:
            columns: of the batch.
            rows: B.
            generator: where the randomness comes from.
        """
        drawn = self.sampler.draw(columns, generator) if self.sampler else Drawn.nothing()
        found = Candidates(shared=len(drawn.shared))
        if drawn.masked.size:
            found.masked = torch.from_numpy(drawn.masked)
        if self.sampler and self.sampler.hard is not None:
            begins = np.searchsorted(drawn.hard_rows, drawn.hard_rows)
            places = np.arange(len(drawn.hard_rows)) - begins
            found.hard = torch.from_numpy(np.stack([drawn.hard_rows, places]))
            found.hard_width = self.sampler.hard_count
        if self.in_batch.needs_ids:
            keys, key_rows = item_keys(columns[self.item_column], self.text_ids, self.item_delimiter)
            if self.in_batch.mask_twins:
                found.twins = torch.from_numpy(twins(keys, key_rows))
            if self.frequency is not None:
                found.log_q = torch.from_numpy(self._log_q(keys, key_rows, rows, drawn))
        return drawn, found

    def _log_q(self, keys: np.ndarray, key_rows: np.ndarray, rows: int, drawn: Drawn) -> np.ndarray:
        assert self.frequency is not None
        first, places = np.unique(key_rows, return_index=True)
        share = np.full(rows, self.frequency.least)
        share[first] = self.frequency.share(keys[places])
        pool_share = share.copy()
        if self.sampler:
            table = self.sampler.table
            of_pool = np.full(rows, -1)
            of_pool[first] = table.rows_of_keys(keys[places])
            listed = np.flatnonzero(of_pool >= 0)
            weights = table.weights[of_pool[listed]] / table.total_weight
            # An item that cannot be drawn counts as if it were drawn as often as it is a positive.
            pool_share[listed] = np.where(weights > 0, weights, share[listed])
            below = drawn.rows
            share = np.concatenate([share, self.frequency.share(table.keys[below])])
            pool_share = np.concatenate([pool_share, table.weights[below] / table.total_weight])
            # A hard negative may have weight 0.
            pool_share = np.where(pool_share > 0, pool_share, share)
        expected = len(drawn.shared) * pool_share
        if self.in_batch.negatives:
            expected += rows * share
        return np.log(expected).astype(np.float32)


def twins(codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs of different rows that have an item in common: int64 [2, P], each pair both ways, by row.

    Args:
        codes: int64 [F], keys of items.
        rows: int64 [F], the row of each, ascending.
    """
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    begins = np.searchsorted(ordered, codes)
    times = np.searchsorted(ordered, codes, side="right") - begins
    several = np.flatnonzero(times > 1)
    begins, times = begins[several], times[several]
    pairs = np.stack([np.repeat(rows[several], times), rows[order[ranges(begins, times)]]])
    return pairs[:, pairs[0] != pairs[1]]
