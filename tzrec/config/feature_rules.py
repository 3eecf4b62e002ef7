"""Rules about features that need no data: each takes the configuration and returns its mistakes."""

from typing import Any

from tzrec.config.expression import parse
from tzrec.config.feature_inputs import (
    BUCKETIZERS,
    given,
    inputs,
    is_embedded,
    is_text_valued,
    reads_inputs,
)
from tzrec.config.normalizer import parse_normalizer
from tzrec.config.walk import Mistake, features
from tzrec.protos.data_pb2 import FgMode
from tzrec.runtime.errors import UserError, nearest

_SIDES = ("user", "item", "context")
_IN_DAG = ("feature", "const")
_WORDS = {
    "combiner": ("sum", "mean", "avg", "min", "max", "count", "gap_min", "gap_max"),
    "method": (
        "query_common_ratio",
        "title_common_ratio",
        "is_contain",
        "is_equal",
        "index_of",
        "proximity_min_cover",
        "proximity_min_dist",
        "proximity_max_dist",
        "proximity_avg_dist",
    ),
    "tokenizer_type": ("bpe", "sentencepiece"),
    "fg_value_type": ("", "string", "int32", "int64", "float", "double"),
    "data_type": ("FP32", "FP16"),
}


def feature_names(message: Any) -> list[Mistake]:
    """A name that two features have."""
    first: dict[str, str] = {}
    mistakes = []
    for path, _, name in features(message):
        if name in first:
            mistakes.append(Mistake(f"{path}.feature_name", f'two features are named "{name}"'))
        first.setdefault(name, path)
    return mistakes


def empty_features(message: Any) -> list[Mistake]:
    """Blocks of feature_configs in which nothing stands."""
    mistakes = []
    for i, config in enumerate(message.feature_configs):
        kind, path = config.WhichOneof("feature"), f"feature_configs[{i}]"
        if kind is None:
            mistakes.append(Mistake(path, "an empty block: name a feature, such as id_feature { ... }"))
        elif kind == "sequence_feature":
            group = config.sequence_feature
            if not group.features:
                what = f'"{group.sequence_name}" has no features'
                mistakes.append(Mistake(f"{path}.{kind}", what))
            for j, inner in enumerate(group.features):
                if inner.WhichOneof("feature") is None:
                    what = "an empty block: name a feature, such as id_feature { ... }"
                    mistakes.append(Mistake(f"{path}.{kind}.features[{j}]", what))
    return mistakes


def words(message: Any) -> list[Mistake]:
    """Words that no feature knows."""
    mistakes = []
    for path, feature, _ in features(message):
        for field, value in feature.ListFields():
            allowed = _WORDS.get(field.name, ())
            if allowed and value not in allowed:
                listed = ", ".join(f'"{word}"' for word in allowed if word)
                what = f'{field.name} is one of {listed}, got "{value}"{nearest(value, allowed)}'
                mistakes.append(Mistake(f"{path}.{field.name}", what))
    return mistakes


def bucketizers(message: Any) -> list[Mistake]:
    """What makes ids of values: one for a feature whose values are text, at most one for numbers."""
    mistakes = []
    for path, feature, name in features(message):
        kind = feature.DESCRIPTOR.name
        has = [one for one in (*BUCKETIZERS, "boundaries") if one in feature.DESCRIPTOR.fields_by_name]
        found = given(feature, tuple(has))
        if kind == "TokenizeFeature":
            continue
        wanted = [each for each in has if each != "boundaries"] if is_text_valued(feature) else has
        listed = ", ".join(wanted)
        said = " and ".join(found) or "none"
        if is_text_valued(feature) and (len(found) != 1 or found[0] not in wanted):
            what = f'"{name}" wants exactly one of {listed}, got {said}'
            mistakes.append(Mistake(f"{path}.{found[-1]}" if found else path, what))
        elif len(found) > 1:
            mistakes.append(
                Mistake(f"{path}.{found[1]}", f'"{name}" wants at most one of {listed}, got {said}')
            )
    return mistakes + _vocabularies(message)


def _vocabularies(message: Any) -> list[Mistake]:
    mistakes = []
    for path, feature, name in features(message):
        found = given(feature, ("vocab_list", "vocab_dict", "vocab_file"))
        if feature.DESCRIPTOR.name == "TokenizeFeature":
            continue
        unknown = "default_bucketize_value" in given(feature, ("default_bucketize_value",))
        if "vocab_file" in found and not unknown:
            what = f'"{name}" has a vocab_file, which wants a default_bucketize_value'
            mistakes.append(Mistake(f"{path}.vocab_file", what))
        if unknown and feature.default_bucketize_value >= 2**31:
            what = "default_bucketize_value is an id of the table, at most 2147483647"
            mistakes.append(Mistake(f"{path}.default_bucketize_value", what))
        if unknown and not found:
            what = (
                f'"{name}" has a default_bucketize_value, which is for vocab_list, vocab_dict and vocab_file'
            )
            mistakes.append(Mistake(f"{path}.default_bucketize_value", what))
        if "vocab_list" in found and len(set(feature.vocab_list)) < len(feature.vocab_list):
            twice = next(w for w in feature.vocab_list if list(feature.vocab_list).count(w) > 1)
            mistakes.append(Mistake(f"{path}.vocab_list", f'vocab_list holds "{twice}" twice'))
        if "vocab_dict" in found and not unknown:
            low = sorted(word for word, number in feature.vocab_dict.items() if number < 2)
            if low:
                has = feature.vocab_dict[low[0]]
                what = (
                    f'vocab_dict gives "{low[0]}" the id {has}; ids begin at 2, for 0 is default_value and 1 '
                    "any unknown word, unless default_bucketize_value is set"
                )
                mistakes.append(Mistake(f"{path}.vocab_dict", what))
        if "vocab_dict" in found and max(feature.vocab_dict.values()) >= 2**31:
            mistakes.append(Mistake(f"{path}.vocab_dict", "vocab_dict has an id beyond 2147483647"))
        if "asset_dir" in given(feature, ("asset_dir",)) and "vocab_file" not in found:
            mistakes.append(
                Mistake(f"{path}.asset_dir", "asset_dir is the folder of vocab_file, which is not set")
            )
    return mistakes


def numbers_and_tables(message: Any) -> list[Mistake]:
    """A table needs its width; numbers as they are need their count and no options of a table."""
    mistakes = []
    for path, feature, name in features(message):
        dense = feature.WhichOneof("dense_emb") if "dense_emb" in feature.DESCRIPTOR.oneofs_by_name else None
        embedded = is_embedded(feature)
        has_dim = "embedding_dim" in given(feature, ("embedding_dim",))
        if embedded and not has_dim:
            why = (given(feature, ("boundaries", *BUCKETIZERS)) or [""])[0]
            verb = "want" if why == "boundaries" else "wants"
            what = f'"{name}" has {why or "ids"}, which {verb} an embedding_dim'
            mistakes.append(Mistake(f"{path}.{why}" if why else path, what))
        if dense and embedded:
            what = f'"{name}" has {dense} and looks up a table; {dense} is for numbers without boundaries'
            mistakes.append(Mistake(f"{path}.{dense}", what))
        if dense and not has_dim:
            mistakes.append(Mistake(f"{path}.{dense}", f'"{name}" has {dense}, which wants an embedding_dim'))
        if not embedded and feature.DESCRIPTOR.name == "RawFeature" and feature.value_dim == 0:
            what = f'"{name}" has no boundaries: value_dim must say how many numbers it has'
            mistakes.append(Mistake(f"{path}.value_dim", what))
        normalizer = getattr(feature, "normalizer", "")
        if normalizer:
            if is_text_valued(feature):
                what = f'"{name}" gives text, which a normalizer cannot take'
                mistakes.append(Mistake(f"{path}.normalizer", what))
            try:
                parse_normalizer(normalizer)
            except UserError as error:
                mistakes.append(Mistake(f"{path}.normalizer", str(error)))
    return mistakes


def expressions(message: Any) -> list[Mistake]:
    """`side:name`. In FG_NONE and FG_BUCKETIZE, where it is not read, every side there is will do."""
    fg_mode = message.data_config.fg_mode
    sides = _SIDES if fg_mode == FgMode.FG_NORMAL else _SIDES + _IN_DAG
    known = {name for _, _, name in features(message)}
    mistakes = []
    for path, feature, name in features(message):
        listed = ", ".join(f"{s}:name" for s in sides)
        read = list(inputs(feature))
        for one in read:
            if one.side in sides and (one.name or one.side == "const"):
                if one.side == "feature" and reads_inputs(message):
                    mistakes += _reference(f"{path}.{one.path}", one.name, name, known)
                continue
            if not one.side and one.name:
                continue
            field = one.path.partition("[")[0]
            if not given(feature, (field,)):
                continue  # A required field that is missing is said elsewhere.
            if not one.side or not one.name:
                what = f'{field} "{one.text}" is not side:name; one of {listed}'
            elif one.side in _IN_DAG:
                what = f'{field} "{one.text}": {one.side}: is for FG_DAG only; here one of {listed}'
            else:
                what = f'{field} "{one.text}" has the side "{one.side}"'
                what += nearest(one.side, sides) or f"; one of {listed}"
            mistakes.append(Mistake(f"{path}.{one.path}", what))
        mistakes += _counts(path, feature, name, read)
        if reads_inputs(message) and read and all(one.side in ("const", "") for one in read):
            mistakes.append(Mistake(path, f'"{name}" reads constants only; name a column or a feature'))
    return mistakes


def _reference(path: str, other: str, reader: str, known: set[str]) -> list[Mistake]:
    group = reader.rpartition("__")[0]
    if other in known or (group and f"{group}__{other}" in known):
        return []
    return [
        Mistake(path, f'"{reader}" reads the feature "{other}", which is not there{nearest(other, known)}')
    ]


def _counts(path: str, feature: Any, name: str, read: list[Any]) -> list[Mistake]:
    kind = feature.DESCRIPTOR.name
    if kind == "ComboFeature" and len(read) < 2:
        return [Mistake(path, f'"{name}" combines two or more expressions, got {len(read)}')]
    if kind == "BoolMaskFeature" and len(read) != 2:
        return [Mistake(path, f'"{name}" wants two expressions, values and mask, got {len(read)}')]
    if kind == "ExprFeature":
        names = [one.name for one in read]
        if not names:
            return [Mistake(path, f'"{name}" has no variables')]
        if constants := [one for one in read if one.side == "const"]:
            what = f'"{constants[0].text}" is no variable; write the number into the expression'
            return [Mistake(f"{path}.{constants[0].path}", what)]
        bad = next((n for n in names if not n.isidentifier() or not n.isascii() or names.count(n) > 1), None)
        if bad is not None:
            what = f'"{name}": "{bad}" is no name of a variable, or stands twice'
            return [Mistake(f"{path}.variables", what)]
        try:
            parse(feature.expression, names)
        except UserError as error:
            return [Mistake(f"{path}.expression", f'"{name}": {error}')]
    return []


RULES = (
    empty_features,
    feature_names,
    words,
    bucketizers,
    numbers_and_tables,
    expressions,
)
