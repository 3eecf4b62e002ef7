"""Columns of any number of rows as flat files: appended to as a stream, read as memory maps.

A column is the buffers of one Arrow array, each a file of its own: values, or offsets and what
they point into. Offsets have 64 bits, so that a column may hold more than 2^31 bytes. One array
without chunks is what makes `take` of random rows as fast as NumPy's.

Numbers and booleans are stored as they are, text as large_string, a list as large_list, a map as
large_list of keys and of values.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.datasets.bounded import chunks
from tzrec.features.values import is_list, is_text

PACKED = 1 << 23  # rows whose validity is packed at a time; a multiple of 8


def is_column_type(kind: pa.DataType) -> bool:
    """Whether a column can be of this type: numbers, booleans, text, lists and maps of what can."""
    if pa.types.is_map(kind):
        return is_column_type(kind.key_type) and is_column_type(kind.item_type)
    if is_list(kind):
        return is_column_type(kind.value_type)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return is_text(kind) or number or pa.types.is_boolean(kind)


class ColumnWriter:
    """Appends arrays of one type to the files `{name}.*` of a folder.

    Args:
        folder: where the files lie.
        name: what their names begin with.
        kind: of the arrays, one that `is_column_type` knows.
    """

    def __init__(self, folder: Path, name: str, kind: pa.DataType) -> None:
        self.folder, self.name, self.kind = folder, name, kind
        self.rows = 0
        self.validity: BinaryIO | None = None
        self.children: list[ColumnWriter] = []
        if pa.types.is_map(kind):
            self.children = [
                ColumnWriter(folder, f"{name}.keys", kind.key_type),
                ColumnWriter(folder, f"{name}.items", kind.item_type),
            ]
        elif is_list(kind):
            self.children = [ColumnWriter(folder, f"{name}.values", kind.value_type)]
        self.end = 0
        self.offsets = self._open("offsets") if self.children or is_text(kind) else None
        self.data = None if self.children else self._open("data")
        if self.offsets:
            self.offsets.write(np.zeros(1, np.int64).data)

    def append(self, array: pa.Array) -> None:
        """Adds rows, an array of `kind`."""
        self._append_validity(array)
        if self.children:
            self._append_offsets(pc.list_value_length(_as_list(array)))
            for child, values in zip(self.children, _flattened(array), strict=True):
                child.append(values)
        elif self.offsets:
            self._append_offsets(pc.binary_length(array))
            array = array.cast(pa.large_string()).fill_null("")
            _, offsets, data = array.buffers()
            bounds = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
            if data and bounds[-1] > bounds[0]:
                self._write(np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]])
        elif pa.types.is_boolean(self.kind):
            self._write(array.cast(pa.uint8()).fill_null(0).to_numpy())
        else:
            values = array.fill_null(0) if array.null_count else array
            self._write(values.to_numpy())
        self.rows += len(array)

    def close(self) -> None:
        """Finishes the files, once. `read_column` can read them then."""
        for file in (self.offsets, self.data, self.validity):
            if file:
                file.close()
        if self.validity:
            self._pack_validity()
            self.validity = None
        for child in self.children:
            child.close()

    def _open(self, what: str) -> BinaryIO:
        return open(self.folder / f"{self.name}.{what}", "wb")

    def _write(self, values: np.ndarray) -> None:
        assert self.data is not None
        self.data.write(np.ascontiguousarray(values).data)

    def _append_offsets(self, lengths: pa.Array) -> None:
        assert self.offsets is not None
        counts = lengths.cast(pa.int64()).fill_null(0).to_numpy()
        ends = np.cumsum(counts) + self.end
        self.offsets.write(ends.data)
        self.end = int(ends[-1]) if len(ends) else self.end

    def _append_validity(self, array: pa.Array) -> None:
        """A byte a row, from the first null on; a column without nulls has no such file."""
        if array.null_count and not self.validity:
            self.validity = self._open("valid")
            for rows in chunks(self.rows):
                self.validity.write(bytes([1]) * (rows.stop - rows.start))
        if self.validity:
            self.validity.write(array.is_valid().cast(pa.uint8()).to_numpy().data)

    def _pack_validity(self) -> None:
        """Makes the bytes the bits that Arrow wants, in place of the file."""
        path = self.folder / f"{self.name}.valid"
        packed = path.with_suffix(".bits")
        with open(path, "rb") as source, open(packed, "wb") as target:
            while piece := source.read(PACKED):
                target.write(np.packbits(np.frombuffer(piece, np.uint8), bitorder="little").data)
        packed.replace(path)


def _as_list(array: pa.Array) -> pa.Array:
    """A map seen as a list, for kernels that do not take maps."""
    if not pa.types.is_map(array.type):
        return array
    return array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))


def _flattened(array: pa.Array) -> list[pa.Array]:
    """The values of a list; the keys and the values of a map."""
    if not pa.types.is_map(array.type):
        return [array.flatten()]
    entries = _as_list(array).flatten()
    return [entries.field(0), entries.field(1)]


def read_column(folder: Path, name: str, kind: pa.DataType, rows: int) -> pa.Array:
    """The column as an array over memory maps, [rows], of `stored_type(kind)`.

    Args:
        folder, name, kind: as they were written.
        rows: how many there are.
    """
    valid = _map(folder / f"{name}.valid") if (folder / f"{name}.valid").exists() else None
    stored = stored_type(kind)
    if pa.types.is_map(kind) or is_list(kind):
        offsets = _map(folder / f"{name}.offsets")
        inner = int(np.frombuffer(offsets, np.int64)[-1])
        if pa.types.is_map(kind):
            keys = read_column(folder, f"{name}.keys", kind.key_type, inner)
            items = read_column(folder, f"{name}.items", kind.item_type, inner)
            child = pa.StructArray.from_arrays([keys, items], ["key", "value"])
        else:
            child = read_column(folder, f"{name}.values", kind.value_type, inner)
        return pa.Array.from_buffers(stored, rows, [valid, offsets], children=[child])
    data = _map(folder / f"{name}.data")
    buffers = [valid, _map(folder / f"{name}.offsets"), data] if is_text(kind) else [valid, data]
    return pa.Array.from_buffers(stored, rows, buffers)


def stored_type(kind: pa.DataType) -> pa.DataType:
    """What arrays of `read_column` are: with 64-bit offsets, booleans as bytes."""
    if pa.types.is_map(kind):
        fields = [("key", stored_type(kind.key_type)), ("value", stored_type(kind.item_type))]
        return pa.large_list(pa.struct(fields))
    if is_list(kind):
        return pa.large_list(stored_type(kind.value_type))
    if is_text(kind):
        return pa.large_string()
    return pa.uint8() if pa.types.is_boolean(kind) else kind


def restore(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Rows taken from `read_column` as the type that was appended."""
    if array.type == kind:
        return array
    if not pa.types.is_map(kind):
        return array.cast(kind)
    entries = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    inner = entries.values
    return pa.MapArray.from_arrays(
        entries.offsets,
        inner.field(0),
        inner.field(1),
        kind,
        mask=entries.is_null() if entries.null_count else None,
    )


def _map(path: Path) -> pa.Buffer:
    # An empty file cannot be mapped.
    return pa.memory_map(str(path)).read_buffer() if path.stat().st_size else pa.py_buffer(b"")
