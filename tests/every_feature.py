"""One feature of every type, alone, in a group and in its own sequence form, and columns for them all."""

# ruff: noqa: E501 (tables of configurations)

from pathlib import Path

import numpy as np
import pyarrow as pa

WORDS = ["red", "green", "blue", "old", "new", "shoe", "hat", "sock"]

# Type -> its fields behind the name; {} holds the path of a tokenizer. Inputs that are
# sequences in the sequence forms have the side item.
FIELDS = {
    "id_feature": 'expression: "item:word" vocab_list: ["red", "green", "blue"] default_value: "x" embedding_dim: 4',
    "raw_feature": 'expression: "item:price" normalizer: "method=zscore,mean=1,standard_deviation=2"',
    "combo_feature": 'expression: ["user:city", "item:word"] hash_bucket_size: 50 embedding_dim: 4 pooling: "mean"',
    "lookup_feature": 'map: "user:likes" key: "item:word" combiner: "max" boundaries: [0.2, 0.5] embedding_dim: 4',
    "match_feature": 'nested_map: "user:nested" pkey: "item:word" skey: "ALL"',
    "expr_feature": 'expression: "price * 2 + age" variables: ["item:price", "user:age"] boundaries: [1, 3] embedding_dim: 4',
    "overlap_feature": 'query: "user:query" title: "item:title" method: "query_common_ratio" separator: " "',
    "tokenize_feature": 'expression: "item:title" vocab_file: "{tokenizer}" embedding_dim: 4 pooling: "mean"',
    "kv_dot_product": 'query: "user:likes" document: "item:word" embedding_dim: 4 mlp {{}}',
    "bool_mask_feature": 'expression: ["item:word", "item:mark"] hash_bucket_size: 50 embedding_dim: 4',
    "combine_feature": 'expression: "item:price" combiner: "mean" embedding_dim: 4 autodis {{ num_channels: 3 }}',
}
GROUP = "hist"
LENGTH = 4


def plain_blocks(tokenizer: Path) -> dict[str, str]:
    """Name of the feature -> the text of its block."""
    return {
        f"p_{kind}": f'{kind} {{ feature_name: "p_{kind}" {fields.format(tokenizer=tokenizer)} }}'
        for kind, fields in FIELDS.items()
    }


def sequence_blocks(tokenizer: Path) -> dict[str, str]:
    """The form of each type that is a sequence by itself; its columns are `seq_...`."""
    blocks = {}
    for kind, fields in FIELDS.items():
        text = (
            fields.format(tokenizer=tokenizer)
            .replace('"item:', '"item:seq_')
            .replace("price *", "seq_price *")
        )
        own = f'feature_name: "s_{kind}" sequence_length: {LENGTH} sequence_delim: ";" {text}'
        blocks[f"s_{kind}"] = f"sequence_{kind} {{ {own} }}"
    return blocks


def group_block(tokenizer: Path) -> str:
    """A sequence_feature with every type in it; its columns are `hist__...`."""
    inner = " ".join(
        f'features {{ {kind} {{ feature_name: "{kind}" {fields.format(tokenizer=tokenizer)} }} }}'
        for kind, fields in FIELDS.items()
    )
    return f'sequence_feature {{ sequence_name: "{GROUP}" sequence_length: {LENGTH} sequence_delim: ";" {inner} }}'


def table(rows: int, seed: int = 5) -> pa.Table:
    """Random columns with nulls, empty texts, lists and maps."""
    draw = np.random.default_rng(seed)

    def word() -> str:
        return str(draw.choice(WORDS))

    def some(most: int, one) -> list:
        return [one() for _ in range(draw.integers(0, most + 1))]

    def maybe(value):
        return None if draw.random() < 0.15 else value

    def title() -> str:
        return " ".join(some(4, word))

    def price() -> float:
        return round(float(draw.normal(1, 2)), 3)

    item = {"word": word, "price": price, "title": title, "mark": lambda: int(draw.integers(0, 2))}
    columns: dict[str, list] = {
        "city": [maybe(word()) for _ in range(rows)],
        "age": [maybe(price()) for _ in range(rows)],
        "query": [maybe(title()) for _ in range(rows)],
        "likes": [
            maybe("\x1d".join(f"{w}:{draw.random():.2f}" for w in WORDS[: draw.integers(0, 8)]))
            for _ in range(rows)
        ],
        "nested": [maybe("|".join(f"{w}^a:{draw.random():.2f},b:1" for w in WORDS[:4])) for _ in range(rows)],
    }
    for name, one in item.items():
        columns[name] = [maybe(one()) if name != "mark" else one() for _ in range(rows)]
    lengths = draw.integers(0, 7, rows)
    for name, one in item.items():
        sequences = [[one() if name == "mark" else maybe(one()) for _ in range(n)] for n in lengths]
        columns[f"seq_{name}"] = sequences
        columns[f"{GROUP}__{name}"] = [
            None if not each else ";".join("" if x is None else str(x) for x in each) for each in sequences
        ]
    return pa.table(columns)


def write_tokenizer(path: Path) -> Path:
    """A small byte-pair tokenizer, trained on the words of the columns."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[unk]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["[unk]"], show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.save(str(path))
    return path
