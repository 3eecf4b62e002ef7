"""Computes expressions over columns of numbers; `config/expression.py` reads their text.

Every value is float64. A row has one number or several; one number goes with several by being
repeated. Comparisons and logic give 1 and 0.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tzrec.config.expression import Chain, Number, Tree, Variable
from tzrec.features.combine import COMBINERS
from tzrec.features.values import BadValueError, Rows, numbers, placed, rows_of

EARTH_KM = 6371.0088


@dataclass(frozen=True)
class Ragged:
    """Numbers of N rows: flat float64 [V], lengths int32 [N], each at least 1, summing to V."""

    flat: np.ndarray
    lengths: np.ndarray


def _logical(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda *x: function(*x).astype(np.float64)


def _bits(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def of_integers(*x: np.ndarray) -> np.ndarray:
        whole = [np.nan_to_num(np.clip(each, -(2.0**62), 2.0**62)).astype(np.int64) for each in x]
        return function(*whole).astype(np.float64)

    return of_integers


def _choose(condition: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return np.where(condition != 0, yes, no)


def _half_away(x: np.ndarray, digits: np.ndarray | float = 0.0) -> np.ndarray:
    scale = 10.0 ** np.trunc(digits)
    return np.sign(x) * np.floor(np.abs(x) * scale + 0.5) / scale


def _sphere(lng1: np.ndarray, lat1: np.ndarray, lng2: np.ndarray, lat2: np.ndarray) -> np.ndarray:
    lng1, lat1, lng2, lat2 = (np.radians(x) for x in (lng1, lat1, lng2, lat2))
    cosine = np.sin(lat1) * np.sin(lat2) + np.cos(lat1) * np.cos(lat2) * np.cos(lng1 - lng2)
    return EARTH_KM * np.arccos(np.clip(cosine, -1.0, 1.0))


def _haversine(lng1: np.ndarray, lat1: np.ndarray, lng2: np.ndarray, lat2: np.ndarray) -> np.ndarray:
    lng1, lat1, lng2, lat2 = (np.radians(x) for x in (lng1, lat1, lng2, lat2))
    half = np.sin((lat1 - lat2) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lng1 - lng2) / 2) ** 2
    return 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))


def _fold(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda *x: functools.reduce(function, x)


# Number by number; the arguments are float64 of one shape.
ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    "||": _logical(np.logical_or),
    "&&": _logical(np.logical_and),
    "|": _bits(np.bitwise_or),
    "&": _bits(np.bitwise_and),
    "==": _logical(np.equal),
    "!=": _logical(np.not_equal),
    "<": _logical(np.less),
    "<=": _logical(np.less_equal),
    ">": _logical(np.greater),
    ">=": _logical(np.greater_equal),
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "negate": np.negative,
    "choose": _choose,
    "isnan": _logical(np.isnan),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "log2": np.log2,
    "log10": np.log10,
    "log": np.log,
    "ln": np.log,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "sign": np.sign,
    "abs": np.abs,
    "rint": np.rint,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": _half_away,
    "roundp": _half_away,
    "mod": np.fmod,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sphere_dist": _sphere,
    "haversine": _haversine,
    "min": _fold(np.minimum),
    "max": _fold(np.maximum),
    "sum": _fold(np.add),
    "avg": lambda *x: _fold(np.add)(*x) / len(x),
}


def _reduce(combiner: str) -> Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]:
    return lambda x, lengths: COMBINERS[combiner](x[0][:, None], lengths)[:, 0]


def _sum(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.add.reduceat(x, np.cumsum(lengths) - lengths)


def _centred(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return x - np.repeat(_sum(x, lengths) / lengths, lengths)


def _variance(x: np.ndarray, lengths: np.ndarray, less: int) -> np.ndarray:
    """The sum of squares by (n - less); a single number has the variance 0."""
    return _sum(_centred(x, lengths) ** 2, lengths) / np.maximum(lengths - less, 1)


def _correlation(x: Sequence[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    a, b = (_centred(each, lengths) for each in x)
    return _sum(a * b, lengths) / np.sqrt(_sum(a * a, lengths) * _sum(b * b, lengths))


# All numbers of a row to one: flat arguments of the same lengths, each at least 1.
OVER_ROWS: dict[str, Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]] = {
    "len": lambda x, lengths: lengths.astype(np.float64),
    "l2_norm": lambda x, lengths: np.sqrt(_sum(x[0] ** 2, lengths)),
    "squared_norm": lambda x, lengths: _sum(x[0] ** 2, lengths),
    "dot": lambda x, lengths: _sum(x[0] * x[1], lengths),
    "euclid_dist": lambda x, lengths: np.sqrt(_sum((x[0] - x[1]) ** 2, lengths)),
    "corr": _correlation,
    "std_dev": lambda x, lengths: np.sqrt(_variance(x[0], lengths, 1)),
    "pop_std_dev": lambda x, lengths: np.sqrt(_variance(x[0], lengths, 0)),
    "variance": lambda x, lengths: _variance(x[0], lengths, 1),
    "pop_variance": lambda x, lengths: _variance(x[0], lengths, 0),
    "reduce_min": _reduce("min"),
    "reduce_max": _reduce("max"),
    "reduce_sum": _reduce("sum"),
    "reduce_mean": _reduce("mean"),
    "reduce_prod": lambda x, lengths: np.multiply.reduceat(x[0], np.cumsum(lengths) - lengths),
}


def evaluate(tree: Tree, variables: Mapping[str, Ragged], rows: int) -> Ragged:
    """The value of an expression in every row.

    Args:
        tree: from `parse`.
        variables: by name, `rows` rows each.
        rows: N.

    Raises:
        BadValueError: a row in which two values have different counts, neither of them 1.
    """
    with np.errstate(all="ignore"):
        return _value(tree, variables, rows)


def _value(tree: Tree, variables: Mapping[str, Ragged], rows: int) -> Ragged:
    if isinstance(tree, Number):
        return Ragged(np.full(rows, tree.value), np.ones(rows, np.int32))
    if isinstance(tree, Variable):
        return variables[tree.name]
    if isinstance(tree, Chain):
        value = _value(tree.first, variables, rows)
        for operator, operand in tree.rest:
            flat, lengths = _aligned([value, _value(operand, variables, rows)], operator)
            value = Ragged(ELEMENTWISE[operator](*flat), lengths)
        return value
    if tree.name == "rnd":
        return Ragged(np.random.default_rng().random(rows), np.ones(rows, np.int32))
    flat, lengths = _aligned([_value(each, variables, rows) for each in tree.arguments], tree.name)
    if tree.name in OVER_ROWS:
        reduced = OVER_ROWS[tree.name](flat, lengths) if rows else np.zeros(0)
        return Ragged(reduced, np.ones(rows, np.int32))
    return Ragged(ELEMENTWISE[tree.name](*flat), lengths)


def _aligned(values: Sequence[Ragged], name: str) -> tuple[list[np.ndarray], np.ndarray]:
    """The values with as many numbers in each row as the longest of them has there."""
    lengths = functools.reduce(np.maximum, (each.lengths for each in values))
    flat = []
    for each in values:
        if np.array_equal(each.lengths, lengths):
            flat.append(each.flat)
            continue
        wrong = np.flatnonzero((each.lengths != 1) & (each.lengths != lengths))
        if len(wrong):
            row = int(wrong[0])
            raise BadValueError(
                f'"{name}" of {each.lengths[row]} and of {lengths[row]} numbers; give one or as many',
                row,
            )
        times = np.where(each.lengths == 1, lengths, 1)
        flat.append(np.repeat(each.flat, np.repeat(times, each.lengths)))
    return flat, lengths


@dataclass(frozen=True)
class Expression:
    """The value of an expression over the inputs.

    A row that lacks a variable has no value, unless `fill` stands in for it.

    Attributes:
        tree: from `parse`.
        names: of the variables, in the order of the inputs.
        separator: between several numbers in one text.
        fill: for a missing variable.
    """

    tree: Tree
    names: tuple[str, ...]
    separator: str
    fill: float | None = None

    def __call__(self, inputs: Sequence[pa.Array], where: str) -> Rows:
        count = len(inputs[0])
        complete = np.ones(count, bool)
        variables = {}
        for name, column in zip(self.names, inputs, strict=True):
            rows = rows_of(column, self.separator, f'{where}, variable "{name}"')
            with placed(rows.lengths):
                flat = numbers(rows.flat, pa.float64(), f'{where}, variable "{name}"').astype(np.float64)
            missing = rows.lengths == 0
            if missing.any():
                if self.fill is None:
                    complete &= ~missing
                # A row without values takes part with one number; it is left out afterwards.
                lengths = np.where(missing, 1, rows.lengths).astype(np.int32)
                padded = np.full(lengths.sum(), np.nan if self.fill is None else self.fill)
                padded[np.repeat(~missing, lengths)] = flat
                variables[name] = Ragged(padded, lengths)
            else:
                variables[name] = Ragged(flat, rows.lengths)
        try:
            made = evaluate(self.tree, variables, count)
        except BadValueError as error:
            raise BadValueError(f"{where}: {error}", error.row) from None
        result = Rows(pa.array(made.flat), made.lengths.astype(np.int32))
        return result if complete.all() else result.keep(np.repeat(complete, made.lengths))
