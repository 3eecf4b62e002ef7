"""The border: the operator of each feature type from its configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tzrec.config.expression import parse
from tzrec.config.feature_inputs import ALL, inputs, is_text_valued
from tzrec.features.combine import Combine
from tzrec.features.cross import BoolMask, Combo
from tzrec.features.expression import Expression
from tzrec.features.maps import Lookup, Match
from tzrec.features.plain import Plain, Turned, Weighted
from tzrec.features.similarity import KvDot, Overlap
from tzrec.features.source import Operator
from tzrec.features.text import TextNormalizer, Tokenize, Tokenizer, open_tokenizer
from tzrec.protos.feature_pb2 import TextNormalizeOption
from tzrec.runtime.errors import UserError

VALUE_TYPES = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
}


@dataclass(frozen=True)
class Files:
    """Where files that a configuration names lie.

    Attributes:
        bundle: the exported folder that holds copies of them; None before the export.
    """

    bundle: Path | None = None

    def path(self, config: Any) -> str:
        """The path of a feature's vocab_file."""
        return str(vocab_path(config) if self.bundle is None else self.bundle / config.vocab_file)

    def stop_path(self, config: Any) -> Path:
        """The path of a text normalizer's stop_char_file."""
        return (self.bundle or Path()) / config.stop_char_file


def vocab_path(config: Any) -> Path:
    """The path of a feature's vocab_file; asset_dir is the folder of a path that is not absolute."""
    return Path(config.asset_dir) / config.vocab_file


def separator_of(config: Any) -> str:
    """Between several values in one text."""
    return getattr(config, "separator", "\x1d")


def build_operator(config: Any, files: Files) -> Operator:
    """What a feature of a validated configuration makes of its inputs.

    Raises:
        UserError: a file that cannot be read.
    """
    return as_typed(_BUILD[config.DESCRIPTOR.name](config, files), config)


def as_typed(operator: Operator, config: Any) -> Operator:
    """The operator with its values as fg_value_type, where that is given."""
    kind = getattr(config, "fg_value_type", "")
    return Turned(operator, VALUE_TYPES[kind]) if kind else operator


def _id(config: Any, files: Files) -> Operator:
    return Weighted(config.separator) if config.weighted else Plain(config.separator)


def _lookup(config: Any, files: Files) -> Operator:
    return Lookup(
        separator=config.separator,
        discrete=is_text_valued(config),
        with_key=config.need_key,
        combiner=config.combiner,
        width=config.value_dim or 1,
        value_separator=config.value_separator,
    )


def _match(config: Any, files: Files) -> Operator:
    _, first, second = inputs(config)
    return Match(
        separator=config.separator,
        any_first=first.name == ALL,
        any_second=second.name == ALL,
        show_first=config.show_pkey,
        show_second=config.show_skey,
        discrete=is_text_valued(config),
    )


def _expression(config: Any, files: Files) -> Operator:
    names = tuple(one.name for one in inputs(config))
    fill = config.fill_missing if config.HasField("fill_missing") else None
    return Expression(parse(config.expression, names), names, config.separator, fill)


def _tokenize(config: Any, files: Files) -> Operator:
    return Tokenize(tokenizer_of(config, files)[0], _text_normalizer(config, files))


def tokenizer_of(config: Any, files: Files) -> tuple[Tokenizer, int]:
    """The tokenizer of a tokenize_feature, and how many ids it has."""
    return open_tokenizer(config.tokenizer_type, files.path(config), config.feature_name)


def _text_normalizer(config: Any, files: Files) -> TextNormalizer:
    text = config.text_normalizer
    stop = ""
    if text.stop_char_file:
        try:
            stop = "".join(files.stop_path(text).read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UserError(
                f'feature "{config.feature_name}": stop_char_file {text.stop_char_file}: {reason}'
            ) from None
    options = tuple(TextNormalizeOption.Name(option) for option in text.norm_options)
    return TextNormalizer(options, stop, text.max_length)


_BUILD: dict[str, Callable[[Any, Files], Operator]] = {
    "IdFeature": _id,
    "RawFeature": lambda config, files: Plain(config.separator),
    "ComboFeature": lambda config, files: Combo(config.separator),
    "LookupFeature": _lookup,
    "MatchFeature": _match,
    "ExprFeature": _expression,
    "OverlapFeature": lambda config, files: Overlap(config.separator, config.method),
    "TokenizeFeature": _tokenize,
    "KvDotProduct": lambda config, files: KvDot(config.separator),
    "BoolMaskFeature": lambda config, files: BoolMask(config.separator),
    "CombineFeature": lambda config, files: Combine(
        config.separator, dict(config.value_map), config.combiner
    ),
}
