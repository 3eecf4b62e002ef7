"""One written value as the value of one field."""

import re
import struct
from decimal import Decimal
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field

from tzrec.config.tree import Block, Scalar, Value, shown
from tzrec.runtime.errors import nearest

_RANGES = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_INTEGER = re.compile(r"(-?)(?:0[xX](?P<hex>[0-9A-Fa-f]+)|0(?P<octal>[0-7]+)|(?P<decimal>0|[1-9][0-9]*))")
_FLOAT = re.compile(r"-?(?!0[0-9])(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?")
_NOT_FINITE = re.compile(r"-?(?:inf|infinity|nan)f?", re.IGNORECASE)
_TRUE, _FALSE = ("true", "t", "True", "1"), ("false", "f", "False", "0")
_JSON_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
# No number of the schema is longer; int() is slow beyond and refuses thousands of digits.
_MOST_DIGITS = 400


def convert(field: Field, value: Value, json: bool) -> Any:
    """The value for a scalar or enum field.

    Args:
        field: what it is for.
        value: what is written.
        json: by the rules of protobuf's JSON mapping; otherwise by those of text format.

    Raises:
        ValueError: what the field wants and what it got, starting with the name of the field.
    """
    kind = field.cpp_type
    if kind in _RANGES:
        return _integer(field, value, json)
    if kind in (Field.CPPTYPE_FLOAT, Field.CPPTYPE_DOUBLE):
        return _float(field, value, json)
    if kind == Field.CPPTYPE_BOOL:
        return _bool(field, value, json)
    if kind == Field.CPPTYPE_ENUM:
        return _enum(field, value, json)
    if isinstance(value, Scalar) and value.kind == "text":
        return value.text
    raise _refusal(field, "a text in double quotes", value)


def found(value: Value) -> str:
    """What is written, for a message."""
    if isinstance(value, Scalar):
        return f"the text {shown(value.text)}" if value.kind == "text" else value.text[:60]
    return "a block" if isinstance(value, Block) else "a list"


def _refusal(field: Field, wanted: str, value: Value, hint: str = "") -> ValueError:
    return ValueError(f"{field.name} wants {wanted}, got {found(value)}{hint}")


def _bare(value: Value, json: bool) -> str:
    """The number or word as written; "" where there is none. JSON may quote its numbers."""
    if isinstance(value, Scalar) and (json or value.kind != "text"):
        return value.text if len(value.text) <= _MOST_DIGITS else ""
    return ""


def _integer(field: Field, value: Value, json: bool) -> int:
    low, high = _RANGES[field.cpp_type]
    bare = _bare(value, json)
    number = _json_integer(bare) if json else _text_integer(bare)
    if number is None:
        quoted = isinstance(value, Scalar) and value.kind == "text" and _text_integer(value.text) is not None
        hint = "; write it without quotes" if quoted else ""
        raise _refusal(field, f"a whole number from {low} to {high}", value, hint)
    if not low <= number <= high:
        raise _refusal(field, f"a whole number from {low} to {high}", value)
    return number


def _text_integer(bare: str) -> int | None:
    match = _INTEGER.fullmatch(bare[:_MOST_DIGITS])
    if not match:
        return None
    base = 16 if match["hex"] else 8 if match["octal"] else 10
    number = int(match["hex"] or match["octal"] or match["decimal"], base)
    return -number if match[1] else number


def _json_integer(bare: str) -> int | None:
    """JSON knows one kind of number: 2.0 and 2e3 are whole ones."""
    if not _FLOAT.fullmatch(bare) or bare[-1] in "fF":
        return None
    exact = Decimal(bare)
    if exact.adjusted() > 20 or exact != int(exact):
        return None
    return int(exact)


def _float(field: Field, value: Value, json: bool) -> float:
    bare = _bare(value, json)
    if json:
        not_finite = bare in _JSON_NOT_FINITE
        finite = bool(_FLOAT.fullmatch(bare)) and bare[-1] not in "fF"
    else:
        not_finite = bool(_NOT_FINITE.fullmatch(bare))
        finite = bool(_FLOAT.fullmatch(bare))
    if not_finite:
        word = bare.lower()
        return float(word[:-1] if word.endswith(("ff", "nanf", "yf")) else word)
    if not finite:
        raise _refusal(field, "a number", value)
    number = float(bare.rstrip("fF"))
    if abs(number) == float("inf") or not _fits(field, number):
        raise _refusal(field, "a number that its type can hold", value)
    return number


def _fits(field: Field, number: float) -> bool:
    if field.cpp_type == Field.CPPTYPE_FLOAT:
        try:
            struct.pack("<f", number)
        except OverflowError:
            return False
    return True


def _bool(field: Field, value: Value, json: bool) -> bool:
    if isinstance(value, Scalar) and value.kind != "text":
        if value.text in (_TRUE[:1] if json else _TRUE):
            return True
        if value.text in (_FALSE[:1] if json else _FALSE):
            return False
    raise _refusal(field, "true or false", value)


def _enum(field: Field, value: Value, json: bool) -> int:
    names = [v.name for v in field.enum_type.values]
    if isinstance(value, Scalar):
        if value.kind == ("text" if json else "word") and value.text in names:
            return int(field.enum_type.values_by_name[value.text].number)
        number = _text_integer(value.text) if value.kind == "number" else None
        if number in field.enum_type.values_by_number:
            return int(number)  # type: ignore[arg-type]
        if value.kind == "text" and not json and value.text in names:
            raise _refusal(field, value.text, value, "; write it without quotes")
        hint = nearest(value.text, names) or nearest(value.text.upper(), names)
        raise _refusal(field, f"one of {', '.join(names)}", value, hint)
    raise _refusal(field, f"one of {', '.join(names)}", value)
