"""What features are computed to, and what they say of the tables and layers that take it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Sparse:
    """Ids of a feature, row after row.

    Attributes:
        values: int64 [V].
        lengths: int32 [N], ids a row; they sum to V.
        weights: float32 [V]; None when all are 1.
    """

    values: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Dense:
    """Numbers of a feature: values float32 [N, D]."""

    values: np.ndarray


@dataclass(frozen=True)
class SparseSequence:
    """Ids of a sequence, element after element.

    Attributes:
        values: int64 [V].
        key_lengths: int32 [E], ids of each element; they sum to V.
        lengths: int32 [N], elements a row; they sum to E.
        weights: float32 [V]; None when all are 1.
        given: int32 [N], elements a row as the column has them: before they were cut, 0 where the
            default stands for the sequence; None where they are `lengths`.
    """

    values: np.ndarray
    key_lengths: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray | None = None
    given: np.ndarray | None = None


@dataclass(frozen=True)
class DenseSequence:
    """Numbers of a sequence: values float32 [E, D], lengths int32 [N] that sum to E; `given` as above."""

    values: np.ndarray
    lengths: np.ndarray
    given: np.ndarray | None = None


Computed = Sparse | Dense | SparseSequence | DenseSequence


@dataclass(frozen=True)
class Limits:
    """What the planner of embedding tables is held to; empty for no limit.

    Attributes:
        sharding_types: such as "table_wise" and "row_wise".
        kernels: such as "fused".
    """

    sharding_types: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()

    def over(self, other: "Limits") -> "Limits":
        """These, and the other's where these say nothing."""
        return Limits(self.sharding_types or other.sharding_types, self.kernels or other.kernels)


@dataclass(frozen=True)
class Table:
    """An embedding table.

    Attributes:
        name: features that name the same table share it.
        rows: how many ids it has.
        dim: floats a row.
        init_fn: text such as "nn.init.uniform_,a=-0.01,b=0.01"; "" for the default.
        trainable: whether training changes it.
        half: its parameters are float16.
        limits: where its features say it may lie.
    """

    name: str
    rows: int
    dim: int
    init_fn: str = ""
    trainable: bool = True
    half: bool = False
    limits: Limits = Limits()


@dataclass(frozen=True)
class DenseEmbedding:
    """Makes a vector of numbers.

    Attributes:
        dim: floats of the vector; AutoDis has as many for each number.
        channels: meta-embeddings of AutoDis; 0 for one linear layer ("mlp").
        temperature, keep: of AutoDis.
    """

    dim: int
    channels: int = 0
    temperature: float = 0.1
    keep: float = 0.8


# What the rows are for that this thread computes features of; "" but for `counted_as`.
_PURPOSE: ContextVar[str] = ContextVar("purpose", default="")


@contextmanager
def counted_as(purpose: str) -> Iterator[None]:
    """Inside, what this thread counts as outside is counted apart, under this word."""
    before = _PURPOSE.set(purpose)
    try:
        yield
    finally:
        _PURPOSE.reset(before)


@dataclass
class Outside:
    """Counts values that could not be taken, with one example, by what the rows are for.

    Loader threads share it. Training goes on reading ahead while an evaluation runs, so who counts, and
    not when, says whose a value is.
    """

    found: dict[str, tuple[int, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, values: pa.Array) -> None:
        with self.lock:
            count, example = self.found.get(_PURPOSE.get(), (0, ""))
            self.found[_PURPOSE.get()] = count + len(values), example or str(values[0].as_py())

    def take(self, purpose: str = "") -> tuple[int, str]:
        """The count and the example of a purpose since the last call for it."""
        with self.lock:
            return self.found.pop(purpose, (0, ""))
