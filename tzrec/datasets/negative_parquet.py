"""Reading the table of negatives from parquet: id, weight and attrs, or the attributes as columns."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.datasets.attributes import AttributeType, Place, as_type, cast, from_text, split_attributes
from tzrec.datasets.files import DataFile
from tzrec.datasets.negative_text import Items, ids_of, weights_of
from tzrec.datasets.parquet_file import PIECE, all_batches
from tzrec.features.values import is_text
from tzrec.runtime.errors import UserError, missing_columns, one_line

ROWS = 1 << 17  # that are read at a time


class ParquetFile:
    """One parquet file of the table.

    Args:
        file: where it is.
        types: of the attributes.
        rows: how many are read at a time.

    Raises:
        UserError: no parquet, columns that are missing, an id column of another type.
    """

    def __init__(self, file: DataFile, types: Sequence[AttributeType], rows: int = ROWS) -> None:
        self.file, self.rows = file, rows
        try:
            self.source = file.open()
        except OSError as error:
            raise _broken(file, error) from None
        try:
            self.parquet = pq.ParquetFile(self.source, pre_buffer=False, buffer_size=PIECE)
            names = self.parquet.schema_arrow.names
            self.joined = "attrs" in names
            attributes = ["attrs"] if self.joined else [kind.name for kind in types]
            self.columns = list(dict.fromkeys(["id", "weight", *attributes]))
            if lost := [name for name in self.columns if name not in names]:
                raise missing_columns(str(file), lost, names)
            kind = _plain(self.parquet.schema_arrow.field("id").type)
            self.text_ids = is_text(kind)
            if not self.text_ids and not pa.types.is_integer(kind):
                raise UserError(f"{file}: the column id is {kind}; ids are integers or text")
        except (pa.ArrowException, OSError) as error:
            self.source.close()
            raise _broken(file, error) from None
        except BaseException:
            self.source.close()
            raise

    def close(self) -> None:
        self.parquet.close()
        self.source.close()

    def position(self) -> int:
        """Bytes of the file that have been read."""
        return self.source.tell()

    def blocks(self) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Some rows, and the number of the first of them, counted from 1."""
        row = 1
        try:
            for batch in all_batches(self.parquet, self.columns, self.rows):
                if batch.num_rows:
                    yield batch, row
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _broken(self.file, error) from None


def items_of_batch(
    batch: pa.RecordBatch, first: int, file: DataFile, attr_delimiter: str, types: Sequence[AttributeType]
) -> Items:
    """The items of some rows.

    Args:
        batch: the rows.
        first: number of the first of them, for messages.
        file: where they are.
        attr_delimiter: between the attributes in a column attrs.
        types: of the attributes.

    Raises:
        UserError: whatever is not as the format says, with file and row.
    """
    place = Place(file, first, "row ")
    columns = {name: _decoded(batch.column(name)) for name in batch.schema.names}
    ids = ids_of(columns["id"], is_text(columns["id"].type), place)
    if not is_text(ids.type):
        ids = cast(ids, pa.int64(), "the id ", place)
    if "attrs" in columns:
        attributes = split_attributes(columns["attrs"], attr_delimiter, types, place)
    else:
        attributes = [_attribute(columns[kind.name], kind, place) for kind in types]
    return Items(ids, weights_of(columns["weight"], place), attributes)


def _attribute(column: pa.Array, kind: AttributeType, place: Place) -> pa.Array:
    if is_text(column.type):
        # Text has several values in it whatever its type is.
        return from_text(column if is_text(kind.type) else column.fill_null(""), kind, place)
    return as_type(column, kind.type, f'attribute "{kind.name}": ', place)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _decoded(column: pa.Array) -> pa.Array:
    """The column without a dictionary, text with 32-bit offsets: a block is small."""
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return column.cast(pa.string()) if is_text(column.type) else column


def _broken(file: DataFile, error: Exception) -> UserError:
    return UserError(
        f"{file}: cannot be read as parquet ({one_line(error)}); "
        "give files written as parquet, and copy this one again if it should be"
    )
