"""The border: a data configuration becomes loaders with plain arguments."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from tzrec.datasets.batch import Batch, Layout, collate
from tzrec.datasets.build_candidates import build_candidates, id_columns
from tzrec.datasets.candidates import NOT_IN_BATCH, CandidateMaker, InBatch
from tzrec.datasets.loader import Loader
from tzrec.datasets.rows import EVALUATION_SEED, SEED
from tzrec.datasets.sampler import item_keys
from tzrec.datasets.table import Table
from tzrec.datasets.tables import open_rows
from tzrec.features.graph import columns_of, compute_all
from tzrec.features.outputs import counted_as
from tzrec.features.values import BadValueError, numbers, placed
from tzrec.protos.data_pb2 import DataConfig
from tzrec.runtime.errors import UserError
from tzrec.runtime.memory import check_fits
from tzrec.runtime.world import World

# What features count as outside in evaluation they count apart from what they do in training.
EVALUATION = "evaluation"


def worker_count(asked: int, world: World) -> int:
    """Threads that make batches: as asked, but no more than this process's share of the cores."""
    return min(asked, max(1, len(os.sched_getaffinity(0)) // world.local_size))


@dataclass(frozen=True)
class Masking:
    """Rows whose maskable features are taken away in training: how probable that is.

    Attributes:
        positives: of a row of the table.
        negatives: of a sampled negative.
    """

    positives: float
    negatives: float

    def draw(self, rows: int, item_rows: int, generator: np.random.Generator) -> np.ndarray:
        """bool [M], the B rows of the table first."""
        probability = np.repeat([self.positives, self.negatives], [rows, item_rows - rows])
        return generator.random(item_rows) < probability


def row_weights(columns: Mapping[str, pa.Array], names: Sequence[str]) -> np.ndarray:
    """float32 [N], the product of these columns; a null weighs 1.

    Raises:
        BadValueError: a weight that is no number, or negative, or not finite.
    """
    product = np.ones(len(columns[names[0]]), np.float32)
    for name in names:
        where = f'sample weight "{name}"'
        given = columns[name].is_valid().to_numpy(zero_copy_only=False)
        weights = np.ones(len(given), np.float32)
        with placed(given.astype(np.int32)):
            weights[given] = numbers(columns[name].drop_null(), pa.float32(), where)
        wrong = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
        if len(wrong):
            raise BadValueError(f"{where}: {weights[wrong[0]]} is no weight; give 0 or more", int(wrong[0]))
        product = product * weights
    return product


class BatchMaker:
    """Rows of the table to a batch: adds negatives, computes features, collates.

    Args:
        layout: of the batches.
        stream: what the randomness comes from, together with the pass and the step: two integers below
            2^32. Streams that differ draw independently.
        candidates: draws the negatives.
        weight_columns: whose product a row weighs.
        pin: the batch lies in memory from which copies to a GPU overlap with its work.
        masking: of features; None masks nothing.
        purpose: what values outside their buckets are counted as.
    """

    def __init__(
        self,
        layout: Layout,
        stream: tuple[int, int],
        candidates: CandidateMaker,
        weight_columns: Sequence[str],
        pin: bool = False,
        masking: Masking | None = None,
        purpose: str = "",
    ) -> None:
        self.layout = layout
        self.stream = stream
        self.candidates = candidates
        self.weight_columns = list(weight_columns)
        self.masking = masking
        self.pin = pin
        self.purpose = purpose
        self.item_columns = sorted(columns_of(layout.item_features))

    def __call__(self, rows: pa.RecordBatch, epoch: int, step: int) -> Batch:
        with counted_as(self.purpose):
            return self._made(rows, epoch, step)

    def _made(self, rows: pa.RecordBatch, epoch: int, step: int) -> Batch:
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        here = [*self.stream, epoch, step]
        drawn, candidates = self.candidates(columns, rows.num_rows, np.random.default_rng(here))
        item_rows = rows.num_rows + len(drawn.rows)
        hidden = None
        if self.masking:
            hidden = self.masking.draw(rows.num_rows, item_rows, np.random.default_rng([*here, 1]))
        computed = compute_all(
            self.layout.user_features, columns, None if hidden is None else hidden[: rows.num_rows]
        )
        if self.candidates.sampler:
            columns |= self.candidates.sampler.extend(columns, self.item_columns, drawn)
        computed |= compute_all(self.layout.item_features, columns, hidden)
        weights = row_weights(columns, self.weight_columns) if self.weight_columns else None
        batch = collate(self.layout, computed, rows.num_rows, item_rows, weights, candidates)
        return batch.pin_memory() if self.pin else batch


def build_loader(
    data: DataConfig,
    layout: Layout,
    world: World,
    paths: str,
    evaluation: bool = False,
    in_batch: InBatch = NOT_IN_BATCH,
) -> Loader[Batch]:
    """Batches for training or evaluation.

    Args:
        data: a validated configuration.
        layout: of the batches.
        world: the place of this process.
        paths: of the table.
        evaluation: every row once in order, eval_batch_size and num_eval_sample.
        in_batch: what the items of the other rows are.

    Raises:
        UserError: paths or columns that are not there, a malformed table of negatives.
    """
    features = [*layout.user_features, *layout.item_features]
    wanted = columns_of(features)
    wanted += list(data.sample_weight_fields)
    wanted += id_columns(data, in_batch)
    # Labels are not read, for every row is a positive, but a name that is wrong should be known.
    labels = [] if evaluation else list(data.label_fields)
    flag = "eval_input_path" if evaluation else "train_input_path"
    table = open_rows(data, paths, list(dict.fromkeys([*wanted, *labels])), flag)
    table = table.select(list(dict.fromkeys(wanted)))
    if table.num_rows == 0:
        raise UserError(f"{flag}: {paths} has no row; give a table with rows")
    if not evaluation and table.num_rows < world.size:
        raise UserError(f"{flag}: {paths} has {table.num_rows} rows for {world.size} processes; start fewer")
    batch_size = data.batch_size
    if evaluation and data.HasField("eval_batch_size"):
        batch_size = data.eval_batch_size
    _check_memory(data, min(batch_size, table.num_rows), evaluation, in_batch.negatives)
    maker = BatchMaker(
        layout,
        # Not the rank's own: the metrics must not depend on how many processes evaluate.
        (EVALUATION_SEED, 0) if evaluation else (SEED, world.rank),
        build_candidates(data, layout, table, world, in_batch, evaluation),
        data.sample_weight_fields,
        data.pin_memory and torch.cuda.is_available(),
        None if evaluation else _masking(data),
        EVALUATION if evaluation else "",
    )
    _check_ids(table, maker.candidates, f"{flag}: {paths}")
    loader = Loader(
        table,
        world,
        maker,
        batch_size,
        worker_count(data.num_workers, world),
        data.shuffle_buffer_size * batch_size if data.shuffle and not evaluation else 0,
        data.drop_remainder and not evaluation,
        whole_batches=evaluation,
    )
    if loader.steps == 0:
        raise UserError(
            f"{flag}: {paths} has {table.num_rows} rows, which do not fill one batch of {batch_size} on each "
            f"of {world.size} processes, and drop_remainder is true; set a smaller data_config.batch_size"
        )
    return loader


def _check_memory(data: DataConfig, rows: int, evaluation: bool, in_batch: bool) -> None:
    """Whether the negatives of a batch and its scores can be held; see `check_fits`."""
    kind = data.WhichOneof("sampler")
    if kind:
        config = getattr(data, kind)
        asked = evaluation and config.num_eval_sample
        field, drawn = ("num_eval_sample", asked) if asked else ("num_sample", config.num_sample)
        hard = getattr(config, "num_hard_sample", 0)
        # An id and a score of each; the columns of attributes come on top.
        check_fits(f"{kind}.{field}: {drawn} negatives for a batch of {rows} rows", drawn * (2 + rows))
        check_fits(f"{kind}.num_hard_sample: {hard} for each of {rows} rows", hard * rows * 3)
    if in_batch:
        check_fits(f"data_config.batch_size: scores of {rows} rows with each other's items", rows * rows)


def _check_ids(table: Table, candidates: CandidateMaker, where: str) -> None:
    """Whether a row has an item at all. Reads the ids up to the first one, which is nearly always near."""
    name = candidates.item_column
    if not name or name not in table.schema.names:
        return
    for rows in table.select([name]).batches(0, table.num_rows):
        try:
            keys, _ = item_keys(rows.column(0), candidates.text_ids, candidates.item_delimiter)
        except UserError:
            return  # The batch that it stands in says where.
        if len(keys):
            return
    raise UserError(
        f'{where}: not one of {table.num_rows} rows has an item: the ids in column "{name}" are all null or '
        "empty; write the ids of the items there, or give the name of their column in item_id_field"
    )


def _masking(data: DataConfig) -> Masking | None:
    if not data.sample_mask_prob and not data.negative_sample_mask_prob:
        return None
    return Masking(data.sample_mask_prob, data.negative_sample_mask_prob)
