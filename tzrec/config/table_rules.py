"""Rules and notes about embedding tables: who shares one, how large it is, how wide its rows are."""

from typing import Any

from tzrec.config.feature_inputs import BUCKETIZERS, given, is_embedded
from tzrec.config.walk import Mistake, features

_OF_TABLES = ("embedding_name", "pooling", "init_fn", "trainable", "data_type", "embedding_constraints")


def shared_tables(message: Any) -> list[Mistake]:
    """Features with one embedding_name have one table."""
    first: dict[str, tuple[str, dict[str, Any]]] = {}
    mistakes = []
    for path, feature, name in features(message):
        if not is_embedded(feature):
            continue
        table = feature.embedding_name or f"{name}_emb"
        shape = {
            "rows": _rows(feature),
            "embedding_dim": feature.embedding_dim,
            "data_type": feature.data_type,
            "trainable": feature.trainable,
        }
        other, other_shape = first.setdefault(table, (name, shape))
        for what, value in shape.items():
            if None not in (value, other_shape[what]) and value != other_shape[what]:
                says = f'"{name}" and "{other}" share the table "{table}" but not its {what}'
                mistakes.append(Mistake(path, f"{says}: {value} and {other_shape[what]}"))
    return mistakes


def _rows(feature: Any) -> int | None:
    """Rows of the table; None where only a file tells."""
    has = given(feature, (*BUCKETIZERS, "boundaries", "default_bucketize_value"))
    if "boundaries" in has:
        return len(feature.boundaries) + 1
    for name in ("num_buckets", "hash_bucket_size"):
        if name in has:
            return int(getattr(feature, name))
    unknown = feature.default_bucketize_value if "default_bucketize_value" in has else None
    if feature.DESCRIPTOR.name == "TokenizeFeature" or "vocab_file" in has:
        return None
    if "vocab_dict" in has:
        return max(*feature.vocab_dict.values(), 1 if unknown is None else unknown) + 1
    if "vocab_list" in has:
        words = len(feature.vocab_list)
        return words + 2 if unknown is None else max(words, unknown + 1)
    return None


def without_a_table(message: Any) -> list[Mistake]:
    """Notes about fields of tables that a feature sets which looks up none."""
    notes = []
    for path, feature, name in features(message):
        if is_embedded(feature):
            continue
        dense = feature.WhichOneof("dense_emb") is not None
        for field in given(feature, _OF_TABLES if dense else (*_OF_TABLES, "embedding_dim")):
            if getattr(feature, field) != feature.DESCRIPTOR.fields_by_name[field].default_value:
                what = f'{field} changes nothing: "{name}" looks up no table, its values are numbers'
                notes.append(Mistake(f"{path}.{field}", what))
    return notes


def padded_tables(message: Any) -> list[Mistake]:
    """Notes about tables whose rows are filled up with zeros."""
    notes = []
    for path, feature, name in features(message):
        dim = feature.embedding_dim
        if is_embedded(feature) and dim % 4:
            what = (
                f'embedding_dim {dim}: in memory and in checkpoints the rows of the table of "{name}" are '
                f"filled up with zeros to {dim + -dim % 4} numbers; the model sees and exports {dim}"
            )
            notes.append(Mistake(f"{path}.embedding_dim", what))
    return notes


def sizes(message: Any) -> list[Mistake]:
    """The bytes of a table are counted in 64 bits; whether they find a place is known when it is made."""
    mistakes = []
    for path, feature, name in features(message):
        rows = _rows(feature) if is_embedded(feature) else None
        if rows is not None and rows * (feature.embedding_dim + 3) * 4 >= 2**63:
            what = (
                f'the table of "{name}" has {rows} rows of {feature.embedding_dim} numbers, more than 64 '
                "bits can address; make it smaller"
            )
            mistakes.append(Mistake(path, what))
    return mistakes


RULES = (shared_tables, sizes)
