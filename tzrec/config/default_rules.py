"""Rules about what stands for a missing value: its own feature must be able to take it."""

import math
import re
from typing import Any

from tzrec.config.feature_inputs import given, is_embedded, is_text_valued, reads_inputs
from tzrec.config.walk import Mistake, features
from tzrec.protos.data_pb2 import FgMode

_INTEGER = re.compile(r"[+-]?[0-9]+")
# Types whose value_dim counts numbers that belong together.
_NUMERIC = ("RawFeature", "LookupFeature")


def default_values(message: Any) -> list[Mistake]:
    """A default that is no number where one is wanted, outside the buckets, or of another width."""
    data = message.data_config
    ids = data.fg_mode == FgMode.FG_NONE
    field = "fg_encoded_default_value" if ids else "default_value"
    mistakes = []
    for path, feature, name in features(message):
        text = getattr(feature, field, "")
        if not text or (feature.DESCRIPTOR.name == "TokenizeFeature" and reads_inputs(message)):
            continue
        separator = data.fg_encoded_multival_sep if ids else getattr(feature, "separator", "\x1d")
        parts = [part.strip() for part in (text.split(separator) if separator else [text]) if part]
        if wrong := _wrong(feature, parts, ids):
            mistakes.append(Mistake(f"{path}.{field}", f'{field} of "{name}": {wrong}'))
    return mistakes


def _wrong(feature: Any, parts: list[str], ids: bool) -> str:
    """What is wrong with the values of a default; "" when nothing is."""
    embedded, kind = is_embedded(feature), feature.DESCRIPTOR.name
    # What is combined need not be whole: a mean of 1 and 2 is in bucket 1.
    whole = embedded and (
        ids
        or kind == "TokenizeFeature"
        or (bool(given(feature, ("num_buckets",))) and kind != "CombineFeature")
    )
    buckets = _buckets(feature, ids)
    if embedded and not whole and not given(feature, ("num_buckets", "boundaries")):
        return ""  # Words: any text is one.
    if whole and (other := [part for part in parts if not _is_integer(part)]):
        return f'"{other[0]}" is not an integer; give ids, or ""'
    if other := [part for part in parts if _number(part) is None]:
        return f'"{other[0]}" is not a number; give numbers, or ""'
    values = [_number(part) or 0 for part in parts]
    if other := [part for part, value in zip(parts, values, strict=True) if not math.isfinite(value)]:
        return f'"{other[0]}" is not finite; give another number, or ""'
    if buckets and (
        other := [p for p, value in zip(parts, values, strict=True) if not 0 <= math.trunc(value) < buckets]
    ):
        return f'"{other[0]}" is outside the {buckets} buckets; give one inside, or ""'
    return _count(feature, len(parts))


def _count(feature: Any, count: int) -> str:
    """One number stands for all of value_dim; otherwise there are as many."""
    width = getattr(feature, "value_dim", 0)
    if not is_embedded(feature):
        width = width or 1
    elif feature.DESCRIPTOR.name not in _NUMERIC or is_text_valued(feature):
        return ""
    if not width or count in (0, 1, width):
        return ""
    return f"{count} numbers, value_dim says {width}; give one{f' or {width}' if width > 1 else ''}"


def _buckets(feature: Any, ids: bool) -> int:
    """How many rows the ids are of; 0 where it is not known here."""
    if ids and given(feature, ("hash_bucket_size",)):
        return int(feature.hash_bucket_size)
    return int(feature.num_buckets) if given(feature, ("num_buckets",)) else 0


def _is_integer(text: str) -> bool:
    return bool(_INTEGER.fullmatch(text)) or text.lower().lstrip("+-") in ("nan", "inf", "infinity")


def _number(text: str) -> float | None:
    """The number that a text spells in decimal notation; infinite beyond float32, None for another text."""
    try:
        value = float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None
    # The largest float32, and half a step.
    if value is None or math.isnan(value) or abs(value) < 3.4028235677973366e38:
        return int(text) if _INTEGER.fullmatch(text) else value
    return math.copysign(math.inf, value)


RULES = (default_values,)
