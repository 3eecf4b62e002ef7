"""The text of a normalizer, such as `method=zscore,mean=0.0,standard_deviation=10.0`."""

import math

from tzrec.config.expression import parse
from tzrec.runtime.errors import UserError, nearest

# Method -> (options it wants, options it may have).
METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "log10": ((), ("threshold", "default")),
    "zscore": (("mean", "standard_deviation"), ()),
    "minmax": (("min", "max"), ()),
    "expression": (("expr",), ()),
}


def parse_normalizer(text: str) -> tuple[str, dict[str, float], str]:
    """(method, its numbers, its expression or "").

    Raises:
        UserError: an unknown method or option, a number that is none, an expression with a mistake.
    """
    head, _, rest = text.partition(",")
    key, _, method = (part.strip() for part in head.partition("="))
    if key != "method" or method not in METHODS:
        hint = nearest(method, METHODS) or f"; methods are {', '.join(METHODS)}"
        raise UserError(f'normalizer "{text}" does not begin with method=NAME{hint}')
    if method == "expression":
        key, _, expression = rest.partition("=")
        if key.strip() != "expr" or not expression.strip():
            raise UserError(f'normalizer "{text}": wants expr=, an expression of x')
        parse(expression, ["x"])
        return method, {}, expression
    wanted, optional = METHODS[method]
    options: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, _, number = (word.strip() for word in part.partition("="))
        if key not in (*wanted, *optional):
            has = ", ".join((*wanted, *optional))
            raise UserError(f'normalizer "{text}": {method} has no option "{key}"; it has {has}')
        try:
            options[key] = float(number)
        except ValueError:
            raise UserError(f'normalizer "{text}": {key}="{number}" is no number') from None
        if not math.isfinite(options[key]):
            raise UserError(f'normalizer "{text}": {key} must be finite')
    if lost := [name for name in wanted if name not in options]:
        raise UserError(f'normalizer "{text}": {method} wants {" and ".join(lost)}')
    if options.get("standard_deviation") == 0:
        raise UserError(f'normalizer "{text}": standard_deviation must not be 0')
    if method == "minmax" and options["min"] >= options["max"]:
        raise UserError(f'normalizer "{text}": min must be less than max')
    return method, options, ""
