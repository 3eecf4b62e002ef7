"""A pipeline configuration as text: nested (name, value) pairs, printed as protobuf text format."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

CONFIG = "pipeline.config"

# A name and what it is set to: Word (an enum), bool, number, str, a tuple of these (a repeated
# field) or the list of the fields of a message.
# The name "#" is a comment, "" an empty line.
Field = tuple[str, Any]


class Word(str):
    """A value that is printed without quotes: the name of an enum value."""


def render(fields: Sequence[Field], depth: int = 0) -> str:
    """The fields as protobuf text, one a line, two spaces a level."""
    indent = "  " * depth
    lines = []
    for name, value in fields:
        if not name:
            lines.append("\n")
        elif name == "#":
            lines.append(f"{indent}# {value}\n")
        elif isinstance(value, list):
            body = render(value, depth + 1)
            lines.append(f"{indent}{name} {{\n{body}{indent}}}\n" if value else f"{indent}{name} {{}}\n")
        else:
            lines.append(f"{indent}{name}: {_scalar(value)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower() if isinstance(value, bool) else f"{value:.9g}"


def quoted(text: str) -> str:
    r"""A text in quotes; control characters as `\x02`."""
    body = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"'
        + "".join(c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode()) for c in body)
        + '"'
    )


@dataclass(frozen=True)
class Feature:
    """One feature of a tower.

    Attributes:
        kind: "id_feature" or "raw_feature".
        side: "user" or "item".
        name: of the feature and of its column.
        options: the remaining fields, such as ("num_buckets", 10).
    """

    kind: str
    side: str
    name: str
    options: list[Field]

    def fields(self, embedding_dim: int) -> Field:
        """The `feature_configs` entry."""
        head: list[Field] = [("feature_name", self.name), ("expression", f"{self.side}:{self.name}")]
        return ("feature_configs", [(self.kind, [*head, ("embedding_dim", embedding_dim), *self.options])])


@dataclass(frozen=True)
class Recipe:
    """How a data set is trained.

    Attributes:
        batch_size: rows a rank.
        epochs: passes over the training table.
        sparse_lr, dense_lr: learning rates of Adagrad for the tables, of Adam for the rest.
        negatives: drawn a batch.
        embedding_dim: of every feature.
        hidden_units: of both towers.
        output_dim: of the vectors.
        temperature: cosines are divided by it.
        workers: `num_workers`.
        dropout: a hidden layer.
        initial_accumulator: of Adagrad.
        shuffle: mix the training rows anew in each pass.
        top_k: of recall_at_k.
    """

    batch_size: int
    epochs: int
    sparse_lr: float
    dense_lr: float
    negatives: int
    embedding_dim: int
    hidden_units: tuple[int, ...]
    output_dim: int
    temperature: float
    workers: int
    dropout: float = 0.0
    initial_accumulator: float = 0.0
    shuffle: bool = False
    top_k: tuple[int, ...] = (1, 5)


@dataclass(frozen=True)
class Paths:
    """Where the tables are, as they stand in the configuration."""

    train: str
    eval: str
    negatives: str
    model_dir: str

    @classmethod
    def under(cls, output_dir: str) -> "Paths":
        """The tables that a preparation command writes into `output_dir`, written as the user did.

        The model goes to `experiments/`, under the output folder's own name.
        """
        base = output_dir.rstrip("/")
        name = PurePath(os.path.abspath(output_dir)).name
        return cls(
            f"{base}/train/*.parquet",
            f"{base}/eval/*.parquet",
            f"{base}/negatives.txt",
            f"experiments/{name}",
        )


def pipeline_text(
    title: str,
    paths: Paths,
    features: Sequence[Feature],
    recipe: Recipe,
    item_id: str,
    attributes: Sequence[str],
    label: str,
) -> str:
    """A whole DSSM configuration.

    Args:
        title: a line of comment at the top.
        paths: of the tables.
        features: of both towers, in the order in which they are concatenated.
        recipe: how to train.
        item_id: the item id's column.
        attributes: of the negative table, in its order.
        label: the label's column.
    """
    fields: list[Field] = [
        ("#", title),
        ("train_input_path", paths.train),
        ("eval_input_path", paths.eval),
        ("model_dir", paths.model_dir),
        ("", ""),
        ("train_config", _train(recipe)),
        ("eval_config", []),
        ("data_config", _data(recipe, paths, item_id, attributes, label)),
        ("", ""),
        *(feature.fields(recipe.embedding_dim) for feature in features),
        ("", ""),
        ("model_config", _model(recipe, features)),
    ]
    return render(fields)


def _train(recipe: Recipe) -> list[Field]:
    adagrad: list[Field] = [("lr", recipe.sparse_lr)]
    if recipe.initial_accumulator:
        adagrad.append(("initial_accumulator_value", recipe.initial_accumulator))
    constant: Field = ("constant_learning_rate", [])
    return [
        ("sparse_optimizer", [("adagrad_optimizer", adagrad), constant]),
        ("dense_optimizer", [("adam_optimizer", [("lr", recipe.dense_lr)]), constant]),
        ("num_epochs", recipe.epochs),
    ]


def _data(recipe: Recipe, paths: Paths, item_id: str, attributes: Sequence[str], label: str) -> list[Field]:
    sampler: list[Field] = [
        ("input_path", paths.negatives),
        ("num_sample", recipe.negatives),
        *(("attr_fields", name) for name in attributes),
        ("item_id_field", item_id),
        ("attr_delimiter", "\x02"),
    ]
    return [
        ("batch_size", recipe.batch_size),
        ("dataset_type", Word("ParquetDataset")),
        ("fg_mode", Word("FG_DAG")),
        ("label_fields", label),
        ("num_workers", recipe.workers),
        *([("shuffle", True)] if recipe.shuffle else []),
        ("negative_sampler", sampler),
    ]


def _model(recipe: Recipe, features: Sequence[Feature]) -> list[Field]:
    def group(side: str) -> Field:
        names = [("feature_names", feature.name) for feature in features if feature.side == side]
        return ("feature_groups", [("group_name", side), *names, ("group_type", Word("DEEP"))])

    mlp: list[Field] = [("hidden_units", recipe.hidden_units)]
    mlp += [("dropout_ratio", recipe.dropout)] if recipe.dropout else []
    dssm: list[Field] = [
        ("user_tower", [("input", "user"), ("mlp", mlp)]),
        ("item_tower", [("input", "item"), ("mlp", mlp)]),
        ("output_dim", recipe.output_dim),
        ("similarity", Word("COSINE")),
        ("temperature", recipe.temperature),
    ]
    return [
        group("user"),
        group("item"),
        ("dssm", dssm),
        *(("metrics", [("recall_at_k", [("top_k", k)])]) for k in recipe.top_k),
        ("losses", [("softmax_cross_entropy", [])]),
    ]
