"""The expressions of expr_feature and of normalizers: text to a tree. `features/expression.py` computes it.

Operators, loosest first: `c ? a : b`, `||`, `&&`, `|`, `&`, comparisons, `+ -`, `* /`, sign, `^`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from tzrec.runtime.errors import UserError, nearest

CONSTANTS = {"_pi": 3.141592653589793, "_e": 2.718281828459045}

_ONE = (
    "isnan sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh log2 log10 log ln exp sqrt sign abs "
    "rint floor ceil trunc round sigmoid len l2_norm squared_norm std_dev pop_std_dev variance pop_variance "
    "reduce_min reduce_max reduce_sum reduce_mean reduce_prod"
)
# Name -> least and greatest number of arguments; None is any number.
FUNCTIONS: dict[str, tuple[int, int | None]] = {
    **dict.fromkeys(_ONE.split(), (1, 1)),
    **dict.fromkeys(["roundp", "mod", "dot", "euclid_dist", "corr"], (2, 2)),
    **dict.fromkeys(["sphere_dist", "haversine"], (4, 4)),
    **dict.fromkeys(["min", "max", "sum", "avg"], (1, None)),
    "rnd": (0, 0),
}
# Parentheses, calls, signs, powers and choices inside one another: deeper than any expression that a person
# writes, and far from the depth at which Python gives up. The terms of a sum do not nest.
DEPTH = 64
# Characters of an expression that a message repeats.
_SHOWN = 200

_GRAMMAR = r"""
?start: choice
?choice: either | either "?" choice ":" choice -> choose
?either: both | either OR both -> binary
?both: bits_or | both AND bits_or -> binary
?bits_or: bits_and | bits_or BIT_OR bits_and -> binary
?bits_and: comparison | bits_and BIT_AND comparison -> binary
?comparison: sum | comparison COMPARE sum -> binary
?sum: product | sum ADD product -> binary
?product: signed | product MULTIPLY signed -> binary
?signed: power | ADD signed -> sign
?power: atom | atom POWER signed -> binary
?atom: NUMBER -> number | NAME -> name | call | "(" choice ")"
call: NAME "(" [choice ("," choice)*] ")"
OR: "||"
AND: "&&"
BIT_OR: "|"
BIT_AND: "&"
COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
ADD: "+" | "-"
MULTIPLY: "*" | "/"
POWER: "^"
NAME: /[A-Za-z_][A-Za-z_0-9]*/
NUMBER: /([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?/
%ignore /[ \t\r\n]+/
"""


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Variable:
    name: str


@dataclass(frozen=True)
class Call:
    """A function, "negate" or "choose", with its arguments."""

    name: str
    arguments: "tuple[Tree, ...]"


@dataclass(frozen=True)
class Chain:
    """Operators applied from left to right: `a - b + c` is first a, then ("-", b), ("+", c)."""

    first: "Tree"
    rest: "tuple[tuple[str, Tree], ...]"


Tree = Number | Variable | Call | Chain


@cache
def _parser() -> Any:
    from lark import Lark  # Only configurations with expressions pay for the import.

    return Lark(_GRAMMAR, parser="lalr")


def parse(text: str, variables: Collection[str]) -> Tree:
    """The tree of an expression over these variables.

    Raises:
        UserError: a syntax error, an unknown name, a wrong number of arguments, with its position, from 1;
            parts that nest more than DEPTH deep. A sum or product may have any number of terms.
    """
    if _parentheses(text) > DEPTH:
        raise _too_deep(text)
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput

    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        token = getattr(error, "token", None)
        if not isinstance(error, UnexpectedCharacters) and (token is None or token.type == "$END"):
            raise UserError(f"{_named(text)}: ends too early, at position {len(text) + 1}") from None
        place = error.pos_in_stream or 0
        what = f'position {place + 1}: "{text[place]}" is not expected'
        raise UserError(f"{_named(text)}: {what}") from None
    return _converted(tree, text, frozenset(variables), 0)


def _named(text: str) -> str:
    return f'expression "{text if len(text) <= _SHOWN else text[:_SHOWN] + "..."}"'


def _too_deep(text: str) -> UserError:
    return UserError(
        f'expression "{text[:60]}...": nested more than {DEPTH} deep; compute a part in an expr_feature '
        "of its own"
    )


def _parentheses(text: str) -> int:
    """How deep the parentheses of a text nest: the tree does not keep those that change nothing."""
    deepest = depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest


def _converted(node: Any, text: str, variables: frozenset[str], depth: int) -> Tree:
    if depth > DEPTH:
        raise _too_deep(text)

    def inner(child: Any) -> Tree:
        return _converted(child, text, variables, depth + 1)

    kind, children = node.data, node.children
    if kind == "number":
        return Number(float(children[0]))
    if kind == "binary":
        # Walked, not recursed into: a sum of n terms is a tree that is n deep on its left side.
        rest = []
        while node.data == "binary":
            node, operator, right = node.children
            rest.append((str(operator), inner(right)))
        return Chain(inner(node), tuple(reversed(rest)))
    if kind == "sign":
        sign, operand = children
        return Call("negate", (inner(operand),)) if sign == "-" else inner(operand)
    if kind == "choose":
        return Call("choose", tuple(inner(child) for child in children))
    name, at = str(children[0]), f"{_named(text)}: position {children[0].start_pos + 1}"
    if kind == "name":
        if name in variables:
            return Variable(name)
        if name in CONSTANTS:
            return Number(CONSTANTS[name])
        known = sorted([*variables, *CONSTANTS])
        hint = nearest(name, known) or f"; there are {', '.join(known)}"
        raise UserError(f'{at}: no variable "{name}"{hint}')
    if name not in FUNCTIONS:
        raise UserError(f'{at}: no function "{name}"{nearest(name, FUNCTIONS)}')
    arguments = tuple(inner(child) for child in children[1:] if child is not None)
    least, most = FUNCTIONS[name]
    if len(arguments) < least or (most is not None and len(arguments) > most):
        wants = str(least) if least == most else f"at least {least}"
        raise UserError(f"{at}: {name} takes {wants} arguments, got {len(arguments)}")
    return Call(name, arguments)
