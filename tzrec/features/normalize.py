"""Normalizers of numbers, from their text in a configuration."""

from collections.abc import Callable

import numpy as np

from tzrec.config.expression import parse
from tzrec.config.normalizer import parse_normalizer
from tzrec.features.expression import Ragged, evaluate
from tzrec.features.values import as_float32

# float64 [V] -> float64 [V]
Normalizer = Callable[[np.ndarray], np.ndarray]


def build_normalizer(text: str) -> Normalizer | None:
    """The function that a normalizer's text names; None for "".

    Raises:
        UserError: a text that names none.
    """
    if not text:
        return None
    method, options, expression = parse_normalizer(text)
    if method == "expression":
        tree = parse(expression, ["x"])

        def by_expression(x: np.ndarray) -> np.ndarray:
            made = evaluate(tree, {"x": Ragged(x, np.ones(len(x), np.int32))}, len(x))
            return np.broadcast_to(made.flat, x.shape)

        return by_expression
    makers: dict[str, Callable[..., Normalizer]] = {"log10": _log10, "zscore": _zscore, "minmax": _minmax}
    normalizer = makers[method](**options)

    def quietly(x: np.ndarray) -> np.ndarray:
        # What overflows is told of as not finite.
        with np.errstate(all="ignore"):
            return normalizer(x)

    return quietly


def normalized(normalizer: Normalizer, values: np.ndarray) -> np.ndarray:
    """The normalized numbers as float32; not finite where float32 holds no such number."""
    return as_float32(normalizer(values))


def _log10(threshold: float = 1e-10, default: float = -10.0) -> Normalizer:
    def normalize(x: np.ndarray) -> np.ndarray:
        above = x > threshold
        return np.where(above, np.log10(np.where(above, x, 1.0)), default)

    return normalize


def _zscore(mean: float, standard_deviation: float) -> Normalizer:
    return lambda x: (x - mean) / standard_deviation


def _minmax(min: float, max: float) -> Normalizer:
    return lambda x: (x - min) / (max - min)
