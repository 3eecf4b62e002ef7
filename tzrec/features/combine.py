"""Several numbers of a row as one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.features.values import Rows, numbers, placed, rows_of, text_of


def _ends(lengths: np.ndarray) -> np.ndarray:
    """Where each row that has values begins; as reduceat takes it."""
    return (np.cumsum(lengths) - lengths)[lengths > 0]


def _reduced(ufunc: np.ufunc) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda values, lengths: ufunc.reduceat(values, _ends(lengths), axis=0)


def _mean(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, _ends(lengths), axis=0) / lengths[lengths > 0, None]


def _count(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.repeat(lengths[lengths > 0, None].astype(np.float64), values.shape[1], axis=1)


def _gap(ufunc: np.ufunc) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def gap(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        owners = np.repeat(np.arange(len(lengths)), lengths)
        columns = [values[np.lexsort((values[:, d], owners)), d] for d in range(values.shape[1])]
        ordered = np.stack(columns, axis=1)
        gaps = np.diff(ordered, axis=0)[owners[1:] == owners[:-1]]
        return ufunc.reduceat(gaps, _ends(np.maximum(lengths - 1, 0)), axis=0)

    return gap


# float64 [V, D] row after row and int32 [N] lengths -> float64 [R, D], R rows that have values.
COMBINERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sum": _reduced(np.add),
    "mean": _mean,
    "avg": _mean,
    "min": _reduced(np.minimum),
    "max": _reduced(np.maximum),
    "count": _count,
    "gap_min": _gap(np.minimum),
    "gap_max": _gap(np.maximum),
}


def combine(values: np.ndarray, lengths: np.ndarray, combiner: str, width: int = 1) -> Rows:
    """Each row's numbers as one number; a row without numbers stays without.

    gap_min and gap_max are the least and the greatest difference of neighbours after sorting;
    a row of one number has no neighbours and stays without a value.

    Args:
        values: float64 [V * width].
        lengths: int32 [N], summing to V.
        combiner: a name of COMBINERS.
        width: numbers that stand together; each place is combined by itself.
    """
    least = 2 if combiner.startswith("gap") else 1
    used = lengths >= least
    table = values.reshape(-1, width)[np.repeat(used, lengths)]
    counted = np.where(used, lengths, 0)
    combined = COMBINERS[combiner](table, counted) if len(table) else np.zeros((0, width))
    return Rows(pa.array(combined.reshape(-1)), (used * width).astype(np.int32))


@dataclass(frozen=True)
class Combine:
    """combine_feature: each value through a map, or as a number, then combined.

    Attributes:
        separator: between several values in one text.
        value_map: number of each text; a text it lacks counts as missing. Empty: values are numbers.
        combiner: a name of COMBINERS.
    """

    separator: str
    value_map: Mapping[str, float]
    combiner: str

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        rows = rows_of(inputs[0], self.separator, where)
        if not self.value_map:
            with placed(rows.lengths):
                return combine(numbers(rows.flat, pa.float64(), where), rows.lengths, self.combiner)
        found = pc.index_in(text_of(rows.flat).cast(pa.string()), pa.array(self.value_map, pa.string()))
        known = rows.keep(found.is_valid().to_numpy(zero_copy_only=False))
        figures = np.array(list(self.value_map.values()), np.float64)
        return combine(figures[found.drop_null().to_numpy()], known.lengths, self.combiner)
