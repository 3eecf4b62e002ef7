"""The border: the samplers of a data configuration become a `CandidateMaker` with plain arguments."""

from typing import Any

import pyarrow as pa

from tzrec.datasets.attributes import MULTI_VALUE, AttributeType
from tzrec.datasets.batch import Layout
from tzrec.datasets.candidates import CandidateMaker, InBatch
from tzrec.datasets.edge_table import open_edges
from tzrec.datasets.frequency import Frequency
from tzrec.datasets.negative_table import NegativeTable, open_table
from tzrec.datasets.sampler import Exclusion, NegativeSampler
from tzrec.datasets.table import Table
from tzrec.features.feature import in_order
from tzrec.features.graph import columns_of
from tzrec.features.values import is_list, is_text
from tzrec.protos import data_pb2, sampler_pb2
from tzrec.protos.data_pb2 import DataConfig
from tzrec.runtime.errors import UserError
from tzrec.runtime.progress import say
from tzrec.runtime.world import World, cache_dir, hash_node_ids

EXCLUSIONS = {
    sampler_pb2.EXCLUDE_BATCH: Exclusion.BATCH,
    sampler_pb2.EXCLUDE_ROW: Exclusion.ROW,
    sampler_pb2.EXCLUDE_NOTHING: Exclusion.NOTHING,
}


def id_columns(data: DataConfig, in_batch: InBatch) -> list[str]:
    """Columns of the training table that negatives need beside those of the features."""
    kind = data.WhichOneof("sampler")
    if kind is None:
        return [data.item_id_field] if in_batch.needs_ids else []
    sampler = getattr(data, kind)
    return [sampler.item_id_field] + ([sampler.user_id_field] if kind != "negative_sampler" else [])


def build_candidates(
    data: DataConfig, layout: Layout, table: Table, world: World, in_batch: InBatch, evaluation: bool
) -> CandidateMaker:
    """What makes the negatives of a batch.

    Args:
        data: a validated configuration.
        layout: of the batches.
        table: of training or evaluation.
        world: the place of this process.
        in_batch: what the items of the other rows are.
        evaluation: num_eval_sample counts, and scores are not corrected, for serving does not either.

    Raises:
        UserError: a malformed pool or edge table, or ids that do not fit together.
    """
    sampler = _sampler(data, layout, table.schema, world, evaluation)
    column = sampler.item_column if sampler else data.item_id_field
    delimiter = sampler.item_delimiter if sampler else ""
    text_ids = sampler.table.text_ids if sampler else bool(column) and _is_text(table.schema, column)
    frequency = None
    if in_batch.logq_correction and not evaluation:
        frequency = Frequency.count(table, column, text_ids, delimiter)
    return CandidateMaker(sampler, column, text_ids, delimiter, in_batch, frequency)


def _sampler(
    data: DataConfig, layout: Layout, schema: pa.Schema, world: World, evaluation: bool
) -> NegativeSampler | None:
    kind = data.WhichOneof("sampler")
    if kind is None:
        return None
    config = getattr(data, kind)
    pool = _pool(kind, config, data, layout, schema)
    _check_id_types(kind, "item", pool.text_ids, schema.field(config.item_id_field).type)
    count = config.num_eval_sample if evaluation and config.num_eval_sample else config.num_sample
    arguments: dict[str, Any] = {"exclusion": EXCLUSIONS[config.exclusion]}
    if kind == "negative_sampler":
        return NegativeSampler(pool, count, config.item_id_field, config.item_id_delim, **arguments)
    arguments["user_column"] = config.user_id_field
    for field, name in (("pos_edge_input_path", "positive"), ("hard_neg_edge_input_path", "hard")):
        if field in config.DESCRIPTOR.fields_by_name:
            edges, note = open_edges(
                getattr(config, field),
                config.user_input_path,
                pool,
                config.field_delimiter or "\t",
                cache_dir(),
                flag=f"{kind}.{field}",
                user_flag=f"{kind}.user_input_path",
            )
            if note and not evaluation:
                say(world, note)
            _check_id_types(kind, "user", edges.text_ids, schema.field(config.user_id_field).type)
            arguments[name] = edges
    if "hard" in arguments:
        arguments["hard_count"] = config.num_hard_sample
    return NegativeSampler(pool, count, config.item_id_field, **arguments)


def _pool(kind: str, config: Any, data: DataConfig, layout: Layout, schema: pa.Schema) -> NegativeTable:
    lost = set(columns_of(layout.item_features)) - set(config.attr_fields)
    if lost:
        raise UserError(
            f"{kind}.attr_fields: the item tower reads {', '.join(sorted(lost))}, which the "
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
        of_column = schema.field(name).type if name in separators else pa.string()
        if pa.types.is_dictionary(of_column):
            of_column = of_column.value_type
        types.append(AttributeType(name, of_column, separators.get(name, MULTI_VALUE), encoded))
    field = "input_path" if kind == "negative_sampler" else "item_input_path"
    return open_table(
        getattr(config, field),
        types,
        config.attr_delimiter,
        config.field_delimiter or "\t",
        cache_dir(),
        flag=f"{kind}.{field}",
    )


def _is_text(schema: pa.Schema, column: str) -> bool:
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind) or is_list(kind):
        kind = kind.value_type
    return is_text(kind)


def _check_id_types(kind: str, whose: str, text_ids: bool, column: pa.DataType) -> None:
    if is_list(column):
        column = column.value_type
    text_column = not pa.types.is_integer(column)
    if text_column and not text_ids and not hash_node_ids():
        table = "negative table has" if whose == "item" else "edge tables have"
        raise UserError(
            f"{kind}: the {table} integer {whose} ids (int64), those of the training "
            f'table are {column}; write "string" for "int64" in the header of the table'
        )
