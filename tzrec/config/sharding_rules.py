"""Rules about where embedding tables may lie: what the planner may be held to, and why not to the rest."""

from collections.abc import Iterator
from typing import Any

from tzrec.config.feature_inputs import is_embedded
from tzrec.config.walk import Mistake, features
from tzrec.runtime.errors import nearest

GLOBAL = "train_config.global_embedding_constraints"
OWN = "embedding_constraints"
TABLE_WISE, ROW_WISE = "table_wise", "row_wise"
# Which cut rows apart, which cut a row itself.
BY_ROWS = (ROW_WISE, "table_row_wise")
BY_COLUMNS = ("column_wise",)
SHARDING_TYPES = (TABLE_WISE, *BY_ROWS, *BY_COLUMNS)
FUSED = "fused"
COMPUTE_KERNELS = (FUSED, "fused_uvm", "fused_uvm_caching")

_OWN_STORE = "keeps rows in a store of its own, which checkpoints here do not read"
_QUANTIZED = "is for serving, it does not train"
_DENSE = "trains tables with a dense optimizer, and sparse_optimizer would be ignored"
_NO_PIECE = "gives a table a wrong shape on ranks that get no piece of it (TorchRec 1.8)"
_REFUSED = {
    "sharding_types": {
        "data_parallel": _DENSE,
        "table_column_wise": _NO_PIECE,
        "grid_shard": _NO_PIECE,
    },
    "compute_kernels": {
        "dense": _DENSE,
        **dict.fromkeys(("quant", "quant_uvm", "quant_uvm_caching"), _QUANTIZED),
        **dict.fromkeys(
            ("key_value", "ssd_virtual_table", "dram_virtual_table", "dram_ssd_virtual_table"), _OWN_STORE
        ),
        "customized_kernel": "is a kernel of somebody's own, and there is none",
    },
}
_ALLOWED = {"sharding_types": SHARDING_TYPES, "compute_kernels": COMPUTE_KERNELS}
# Their step of one number follows from the others of its row, or from the row's norm.
_OVER_A_ROW = (
    "rowwise_adagrad_optimizer",
    "lars_sgd_optimizer",
    "lamb_optimizer",
    "partial_rowwise_lamb_optimizer",
    "partial_rowwise_adam_optimizer",
)
# Functions of torch.nn.init whose numbers do not depend on the shape that they fill.
_OF_NO_SHAPE = ("uniform_", "normal_", "trunc_normal_", "constant_", "ones_", "zeros_")


def words(message: Any) -> list[Mistake]:
    """Sharding types and kernels that do not exist, or that are not exact here."""
    mistakes = []
    for path, limits in _all(message):
        for field, allowed in _ALLOWED.items():
            refused = _REFUSED[field]
            listed = ", ".join(allowed)
            for i, word in enumerate(getattr(limits, field)):
                if word in refused:
                    what = f'{field}: "{word}" {refused[word]}; take some of {listed}'
                elif word not in allowed:
                    hint = nearest(word, allowed)
                    what = f'{field}: "{word}" is not known; it is one of {listed}{hint}'
                else:
                    continue
                mistakes.append(Mistake(f"{path}.{field}[{i}]", what))
    return mistakes


def cut_rows(message: Any) -> list[Mistake]:
    """An optimizer that looks at a whole row does something else with a part of it."""
    kind = message.train_config.sparse_optimizer.WhichOneof("optimizer")
    if kind not in _OVER_A_ROW:
        return []
    mistakes = []
    for path, limits in _all(message):
        for i, word in enumerate(limits.sharding_types):
            if word in BY_COLUMNS:
                what = (
                    f'sharding_types: "{word}" cuts rows, and the steps of {kind} follow from whole rows; '
                    "take table_wise, row_wise or table_row_wise, or adagrad_optimizer"
                )
                mistakes.append(Mistake(f"{path}.sharding_types[{i}]", what))
    return mistakes


def cut_tables(message: Any) -> list[Mistake]:
    """Initial values that depend on the shape of the table would be those of its pieces."""
    mistakes = []
    common = message.train_config.global_embedding_constraints
    named = {
        _table(feature, name): (f"{path}.{OWN}", feature.embedding_constraints)
        for path, feature, name in features(message)
        if feature.embedding_constraints.sharding_types
    }
    for _, feature, name in features(message):
        if not is_embedded(feature) or can_be_cut(feature.init_fn):
            continue
        where, limits = named.get(_table(feature, name), (GLOBAL, common))
        for i, word in enumerate(limits.sharding_types):
            if word != TABLE_WISE:
                what = (
                    f'sharding_types: "{word}" cuts the table of "{name}", whose init_fn {feature.init_fn} '
                    f'depends on its shape; give that feature {OWN} {{ sharding_types: "{TABLE_WISE}" }}'
                )
                mistakes.append(Mistake(f"{where}.sharding_types[{i}]", what))
    return mistakes


def cut_columns(message: Any) -> list[Mistake]:
    """Pieces of rows that are filled up to a multiple of four would not know which columns are real."""
    mistakes = []
    common = message.train_config.global_embedding_constraints
    for path, feature, name in features(message):
        own = feature.embedding_constraints
        where, limits = (f"{path}.{OWN}", own) if own.sharding_types else (GLOBAL, common)
        if not is_embedded(feature) or feature.embedding_dim % 4 == 0:
            continue
        for i, word in enumerate(limits.sharding_types):
            if word in BY_COLUMNS:
                what = (
                    f'sharding_types: "{word}" cuts the rows of "{name}" into pieces of four numbers, and '
                    f"embedding_dim {feature.embedding_dim} is no multiple of 4; take table_wise or row_wise"
                )
                mistakes.append(Mistake(f"{where}.sharding_types[{i}]", what))
    return mistakes


def can_be_cut(init_fn: str) -> bool:
    """Whether the pieces of a table may begin with this function, each by itself."""
    return not init_fn or init_fn.split(",")[0].strip().rpartition(".")[2] in _OF_NO_SHAPE


def shared_constraints(message: Any) -> list[Mistake]:
    """Features that share a table agree, or one says where it may lie."""
    first: dict[tuple[str, str], tuple[str, list[str]]] = {}
    mistakes = []
    for path, feature, name in features(message):
        table = _table(feature, name)
        for field in _ALLOWED if is_embedded(feature) else ():
            words = sorted(set(getattr(feature.embedding_constraints, field)))
            if not words:
                continue
            other, other_words = first.setdefault((table, field), (name, words))
            if words != other_words:
                what = (
                    f'"{name}" and "{other}" share the table "{table}" but not its {field}: '
                    f"{', '.join(words)} and {', '.join(other_words)}; say it at one of them"
                )
                mistakes.append(Mistake(f"{path}.{OWN}.{field}", what))
    return mistakes


def _table(feature: Any, name: str) -> str:
    return feature.embedding_name or f"{name}_emb"


def _all(message: Any) -> Iterator[tuple[str, Any]]:
    """(path, constraints) that are given."""
    if message.train_config.HasField("global_embedding_constraints"):
        yield GLOBAL, message.train_config.global_embedding_constraints
    for path, feature, _ in features(message):
        if feature.HasField(OWN):
            yield f"{path}.{OWN}", feature.embedding_constraints


RULES = (words, cut_rows, cut_tables, cut_columns, shared_constraints)
