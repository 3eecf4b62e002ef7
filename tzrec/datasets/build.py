"""The border: a data configuration becomes loaders with plain arguments."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch

from tzrec.datasets.batch import Batch, Layout, collate
from tzrec.datasets.build_candidates import build_candidates, id_columns
from tzrec.datasets.candidates import NOT_IN_BATCH, CandidateMaker, InBatch
from tzrec.datasets.loader import Loader
from tzrec.datasets.parquet import ParquetTable
from tzrec.datasets.rows import SEED
from tzrec.features.feature import Dense, Feature, Sparse
from tzrec.protos.data_pb2 import DataConfig
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World


def compute_all(features: Sequence[Feature], columns: Mapping[str, pa.Array]) -> dict[str, Sparse | Dense]:
    """Every feature of a batch, by name."""
    return {feature.name: feature.compute(columns) for feature in features}


def worker_count(asked: int, world: World) -> int:
    """Threads that make batches: as asked, but no more than this process's share of the cores."""
    return min(asked, max(1, len(os.sched_getaffinity(0)) // world.local_size))


class BatchMaker:
    """Rows of the table to a batch: adds negatives, computes features, collates.

    The negatives are a function of (rank, pass, step); in evaluation, where `world` is one process,
    of the batch's number in the whole table. With `pin` the batch lies in memory from
    which copies to a GPU overlap with its work.
    """

    def __init__(
        self,
        layout: Layout,
        world: World,
        candidates: CandidateMaker,
        weight_column: str | None,
        pin: bool = False,
    ) -> None:
        self.layout = layout
        self.world = world
        self.candidates = candidates
        self.weight_column = weight_column
        self.pin = pin
        self.item_columns = sorted({feature.column for feature in layout.item_features})

    def __call__(self, rows: pa.RecordBatch, epoch: int, step: int) -> Batch:
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        computed = compute_all(self.layout.user_features, columns)
        item_rows = rows.num_rows
        generator = np.random.default_rng([SEED, self.world.rank, epoch, step])
        drawn, candidates = self.candidates(columns, rows.num_rows, generator)
        if self.candidates.sampler:
            columns |= self.candidates.sampler.extend(columns, self.item_columns, drawn)
            item_rows += len(drawn.rows)
        computed |= compute_all(self.layout.item_features, columns)
        weights = None
        if self.weight_column:
            weights = columns[self.weight_column].cast(pa.float32()).fill_null(1.0)
            weights = weights.to_numpy(zero_copy_only=False)
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
    if len(data.sample_weight_fields) > 1:
        raise UserError(
            f"data_config.sample_weight_fields: {', '.join(data.sample_weight_fields)}; a row has "
            "one weight, give one column"
        )
    features = [*layout.user_features, *layout.item_features]
    wanted = [feature.column for feature in features]
    wanted += list(data.sample_weight_fields)
    wanted += id_columns(data, in_batch)
    # Labels are not read, for every row is a positive, but a name that is wrong should be known.
    labels = [] if evaluation else list(data.label_fields)
    flag = "eval_input_path" if evaluation else "train_input_path"
    table = ParquetTable(paths, list(dict.fromkeys([*wanted, *labels])), flag)
    table = table.select(list(dict.fromkeys(wanted)))
    if table.num_rows == 0:
        raise UserError(f"{flag}: {paths} has no row")
    if not evaluation and table.num_rows < world.size:
        raise UserError(f"{flag}: {paths} has {table.num_rows} rows for {world.size} processes; start fewer")
    batch_size = data.batch_size
    if evaluation and data.HasField("eval_batch_size"):
        batch_size = data.eval_batch_size
    maker = BatchMaker(
        layout,
        # Not the rank's own: the metrics must not depend on how many processes evaluate.
        World() if evaluation else world,
        build_candidates(data, layout, table, world, in_batch, evaluation),
        data.sample_weight_fields[0] if data.sample_weight_fields else None,
        data.pin_memory and torch.cuda.is_available(),
    )
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
