"""A feature: the columns it reads, what it makes of them, and the embedding table it looks up."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tzrec.features.bucketize import Bucketizer
from tzrec.features.values import fill_empty, first_of_each, numbers, rows_of
from tzrec.runtime.errors import UserError


@dataclass(frozen=True)
class Sparse:
    """Ids of a feature, row after row: values int64 [V], lengths int32 [N] that sum to V."""

    values: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class Dense:
    """Numbers of a feature: values float32 [N, D]."""

    values: np.ndarray


@dataclass(frozen=True)
class Table:
    """An embedding table.

    Attributes:
        name: features that name the same table share it.
        rows: how many ids it has.
        dim: floats a row.
        init_fn: text such as "nn.init.uniform_,a=-0.01,b=0.01"; "" for the default.
    """

    name: str
    rows: int
    dim: int
    init_fn: str = ""


@dataclass
class Outside:
    """Counts values that had no bucket, with one example. Loader threads share it."""

    count: int = 0
    example: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, values: pa.Array) -> None:
        with self.lock:
            self.count += len(values)
            self.example = self.example or str(values[0].as_py())

    def take(self) -> tuple[int, str]:
        """The count and the example since the last call."""
        with self.lock:
            taken = self.count, self.example
            self.count, self.example = 0, ""
        return taken


@dataclass(frozen=True)
class IdFeature:
    """Values of one column as ids of an embedding table, pooled into one vector a row.

    Attributes:
        name: of the feature.
        column: that it reads.
        table: that it looks up.
        pooling: "sum" or "mean" over the values of a row.
        bucketizer: from values to ids; -1 is no id.
        default: int64 [F], the ids of a row that has none.
        separator: between several values in one text.
        most: keep the first so many values of a row; 0 keeps all.
        exact: a row with another count of values than `most` is an error instead.
    """

    name: str
    column: str
    table: Table
    pooling: str
    bucketizer: Bucketizer
    default: np.ndarray
    separator: str
    most: int = 0
    exact: bool = False
    outside: Outside = field(default_factory=Outside, compare=False)

    @property
    def width(self) -> int:
        """Floats that the feature adds to the input of a tower."""
        return self.table.dim

    def compute(self, columns: Mapping[str, pa.Array]) -> Sparse:
        """The ids of a batch.

        Args:
            columns: has `column`, N rows.

        Raises:
            UserError: a value that is not what the bucketizer takes.
        """
        where = f'feature "{self.name}", column "{self.column}"'
        rows = rows_of(columns[self.column], self.separator, where)
        if self.exact:
            check_width(rows.lengths, self.most, where)
        ids, lengths = self.bucketizer(rows.flat, where), rows.lengths
        missing = ids < 0
        if missing.any():
            self.outside.add(rows.flat.filter(pa.array(missing)))
            owners = np.repeat(np.arange(len(lengths)), lengths)[missing]
            lengths = lengths - np.bincount(owners, minlength=len(lengths)).astype(np.int32)
            ids = ids[~missing]
        if self.most:
            ids, lengths = first_of_each(ids, lengths, self.most)
        return Sparse(*fill_empty(ids, lengths, self.default))


@dataclass(frozen=True)
class RawFeature:
    """Numbers of one column, `width` of them a row, given to the tower as they are.

    Attributes:
        name: of the feature.
        column: that it reads.
        width: numbers a row.
        default: float32 [width], for a row without value.
        separator: between several values in one text.
    """

    name: str
    column: str
    width: int
    default: np.ndarray
    separator: str

    def compute(self, columns: Mapping[str, pa.Array]) -> Dense:
        """The numbers of a batch.

        Args:
            columns: has `column`, N rows.

        Raises:
            UserError: a text that is no number, a row with another count of numbers than `width`.
        """
        where = f'feature "{self.name}", column "{self.column}"'
        rows = rows_of(columns[self.column], self.separator, where)
        flat = numbers(rows.flat, pa.float32(), where)
        check_width(rows.lengths, self.width, where)
        flat, _ = fill_empty(flat, rows.lengths, self.default)
        return Dense(flat.reshape(-1, self.width))


Feature = IdFeature | RawFeature


def check_width(lengths: np.ndarray, width: int, where: str) -> None:
    """Raises UserError when a row that is not empty has another count of values than `width`."""
    wrong = (lengths != 0) & (lengths != width)
    if wrong.any():
        raise UserError(
            f"{where}: a row has {lengths[wrong][0]} values, value_dim says {width}; "
            "give as many or set value_dim"
        )


def outside_lines(features: list[Feature]) -> list[str]:
    """One line a feature that met values without a bucket since the last call."""
    lines = []
    for feature in features:
        if isinstance(feature, IdFeature):
            count, example = feature.outside.take()
            if count:
                lines.append(
                    f'feature "{feature.name}": {count} values outside its {feature.table.rows} buckets '
                    f"were taken as missing (one of them: {example})"
                )
    return lines
