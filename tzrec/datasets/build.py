"""The border: a data configuration becomes loaders with plain arguments."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from tzrec.datasets.batch import Batch, Layout, collate
from tzrec.datasets.loader import Loader
from tzrec.datasets.negative_table import open_table
from tzrec.datasets.negative_text import MULTI_VALUE, AttributeType
from tzrec.datasets.rows import SEED
from tzrec.datasets.sampler import NegativeSampler
from tzrec.datasets.tables import open_rows
from tzrec.features.feature import Feature, in_order
from tzrec.features.graph import columns_of, compute_all
from tzrec.features.values import BadValueError, numbers, placed
from tzrec.protos import data_pb2
from tzrec.protos.data_pb2 import DataConfig
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World, cache_dir, hash_node_ids


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

    The negatives are a function of (rank, pass, step). With `pin` the batch lies in memory from
    which copies to a GPU overlap with its work.
    """

    def __init__(
        self,
        layout: Layout,
        world: World,
        sampler: NegativeSampler | None,
        weight_columns: Sequence[str],
        pin: bool = False,
        masking: Masking | None = None,
    ) -> None:
        self.layout = layout
        self.world = world
        self.sampler = sampler
        self.weight_columns = list(weight_columns)
        self.masking = masking
        self.pin = pin
        self.item_columns = sorted(columns_of(layout.item_features))

    def __call__(self, rows: pa.RecordBatch, epoch: int, step: int) -> Batch:
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        item_rows = rows.num_rows + (self.sampler.count if self.sampler else 0)
        hidden = None
        if self.masking:
            generator = np.random.default_rng([SEED, self.world.rank, epoch, step, 1])
            hidden = self.masking.draw(rows.num_rows, item_rows, generator)
        computed = compute_all(
            self.layout.user_features, columns, None if hidden is None else hidden[: rows.num_rows]
        )
        if self.sampler:
            generator = np.random.default_rng([SEED, self.world.rank, epoch, step])
            columns |= self.sampler.extend(columns, self.item_columns, generator)
        computed |= compute_all(self.layout.item_features, columns, hidden)
        weights = row_weights(columns, self.weight_columns) if self.weight_columns else None
        batch = collate(self.layout, computed, rows.num_rows, item_rows, weights)
        return batch.pin_memory() if self.pin else batch


def build_loader(
    data: DataConfig, layout: Layout, world: World, paths: str, evaluation: bool = False
) -> Loader[Batch]:
    """Batches for training or evaluation.

    Args:
        data: a validated configuration.
        layout: of the batches.
        world: the place of this process.
        paths: of the table.
        evaluation: every row once in order, eval_batch_size and num_eval_sample.

    Raises:
        UserError: paths or columns that are not there, a malformed negative table.
    """
    features = [*layout.user_features, *layout.item_features]
    sampler = data.negative_sampler if data.HasField("negative_sampler") else None
    wanted = columns_of(features)
    wanted += list(data.sample_weight_fields)
    wanted += [sampler.item_id_field] if sampler else []
    # Labels are not read, for every row is a positive, but a name that is wrong should be known.
    labels = [] if evaluation else list(data.label_fields)
    flag = "eval_input_path" if evaluation else "train_input_path"
    table = open_rows(data, paths, list(dict.fromkeys([*wanted, *labels])), flag)
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
        world,
        _sampler(data, layout, table.schema, evaluation) if sampler else None,
        data.sample_weight_fields,
        data.pin_memory and torch.cuda.is_available(),
        None if evaluation else _masking(data, features),
    )
    loader = Loader(
        table,
        world,
        maker,
        batch_size,
        worker_count(data.num_workers, world),
        data.shuffle_buffer_size * batch_size if data.shuffle and not evaluation else 0,
        data.drop_remainder and not evaluation,
    )
    if loader.steps == 0:
        raise UserError(
            f"{flag}: {paths} has {table.num_rows} rows, which do not fill one batch of {batch_size} on each "
            f"of {world.size} processes, and drop_remainder is true; set a smaller data_config.batch_size"
        )
    return loader


def _masking(data: DataConfig, features: Sequence[Feature]) -> Masking | None:
    if not data.sample_mask_prob and not data.negative_sample_mask_prob:
        return None
    if not any(feature.masked for feature in features):
        raise UserError(
            "data_config: sample_mask_prob takes features away that have use_mask: true, and none has"
        )
    return Masking(data.sample_mask_prob, data.negative_sample_mask_prob)


def _sampler(data: DataConfig, layout: Layout, schema: pa.Schema, evaluation: bool) -> NegativeSampler:
    config = data.negative_sampler
    lost = set(columns_of(layout.item_features)) - set(config.attr_fields)
    if lost:
        raise UserError(
            f"negative_sampler.attr_fields: the item tower reads {', '.join(sorted(lost))}, which the "
            f"negatives would not have; attr_fields names {', '.join(config.attr_fields)}"
        )
    separators = {
        column: feature.separator
        for feature in in_order(layout.item_features)
        for column in feature.source.columns
    }
    encoded = data.fg_encoded_multival_sep if data.fg_mode == data_pb2.FG_NONE else ""
    types = []
    for name in config.attr_fields:
        # An attribute that no feature reads is kept as text; its type does not matter.
        kind = schema.field(name).type if name in separators else pa.string()
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        types.append(AttributeType(name, kind, separators.get(name, MULTI_VALUE), encoded))
    table = open_table(
        config.input_path, types, config.attr_delimiter, config.field_delimiter or "\t", cache_dir()
    )
    _check_id_types(table.text_ids, schema.field(config.item_id_field).type)
    count = config.num_eval_sample if evaluation and config.num_eval_sample else config.num_sample
    return NegativeSampler(table, count, config.item_id_field)


def _check_id_types(text_ids: bool, column: pa.DataType) -> None:
    text_column = not pa.types.is_integer(column)
    if text_column and not text_ids and not hash_node_ids():
        raise UserError(
            f"negative_sampler: the negative table has integer ids (id:int64), the item ids of the training "
            f'table are {column}; write "id:string" in the header of the negative table'
        )
