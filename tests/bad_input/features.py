"""Features: rules of one, of groups, of sequences; vocabularies and models of tokenizers as files."""

# ruff: noqa: E501 (tables: a row an attack)

from collections.abc import Callable

from tests.bad_input.row import Desk, Row, row

CONFIG = "pipeline.config"
USER_ID = 'feature_name: "user_id" expression: "user:user_id"'
VOCAB = 'vocab_list: ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]'


def user(text: str) -> Callable[[Desk], None]:
    """One more feature of the user, "f", in its group."""

    def spoil(desk: Desk) -> None:
        desk.replace(CONFIG, "model_config {", f"feature_configs {{ {text} }}\nmodel_config {{")
        desk.replace(CONFIG, '"user_id", "age"', '"user_id", "f", "age"')

    return spoil


def replaced(old: str, new: str) -> Callable[[Desk], None]:
    return lambda desk: desk.replace(CONFIG, old, new)


def with_file(name: str, content: str | bytes, field: str) -> Callable[[Desk], None]:
    """The category of items by a vocabulary file."""
    whole = content.encode() if isinstance(content, str) else content

    def spoil(desk: Desk) -> None:
        (desk / name).write_bytes(whole)
        desk.replace(CONFIG, VOCAB, field)

    return spoil


def vocabulary(attack: str, content: str | bytes, says: str | tuple[str, ...], step: str) -> Row:
    """Training with a vocabulary file that is spoilt."""
    field = 'vocab_file: "words.txt" default_bucketize_value: 0'
    says = (says,) if isinstance(says, str) else says
    return row(
        "train", attack, ('"cate"', "words.txt", *says), step, spoil=with_file("words.txt", content, field)
    )


def feature(attack: str, text: str, says: str | tuple[str, ...], step: str) -> Row:
    """Training with one feature more."""
    return row("train", attack, says, step, spoil=user(text))


RULES = [
    row("train", "a feature without a name", "feature_name", "lacks", spoil=replaced(USER_ID, 'expression: "user:user_id"')),
    row("train", "a feature without its input", "expression", "lacks", spoil=replaced(USER_ID, 'feature_name: "user_id"')),
    row("train", "two features of one name", '"user_id"', "two features", spoil=user('id_feature { feature_name: "user_id" expression: "user:seen" num_buckets: 9 embedding_dim: 4 }')),
    row("train", "an input of no side", '"user_id"', "user:name", spoil=replaced('"user:user_id"', '"user_id"')),
    row("train", "an input of a side that is not there", '"usr"', 'did you mean "user"?', spoil=replaced('"user:user_id"', '"usr:user_id"')),
    row("train", "a column that is not there", ("train/a.parquet", 'no column "agee"'), 'did you mean "age"?', spoil=replaced('"user:age"', '"user:agee"')),
    row("train", "an empty input", "expression", "user:name", spoil=replaced('"user:user_id"', '""')),
    row("train", "ids in no buckets", '"user_id" wants exactly one of', "num_buckets", spoil=replaced("num_buckets: 200", "")),
    row("train", "ids in two kinds of buckets", '"user_id" wants exactly one of', "hash_bucket_size", spoil=replaced("num_buckets: 200", "num_buckets: 200 hash_bucket_size: 5")),
    row("train", "a vocabulary with a word twice", "vocab_list", "twice", spoil=replaced('"c1"', '"c0"')),
    row("train", "a default outside the buckets", ('"user_id"', "300"), "inside", spoil=replaced("num_buckets: 200", 'num_buckets: 200 default_value: "300"')),
    row("train", "a default that is no number", ('"age"', '"old"'), "number", spoil=replaced('expression: "user:age"', 'expression: "user:age" default_value: "old"')),
    row("train", "a default that is not finite", ('"age"', "inf"), "finite", spoil=replaced('expression: "user:age"', 'expression: "user:age" default_value: "inf"')),
    row("train", "a pooling that is not there", '"men"', 'did you mean "mean"?', spoil=replaced('pooling: "mean"', 'pooling: "men"')),
    row("train", "a shared table of two sizes", ("items", "400", "500"), "share", spoil=replaced("num_buckets: 400", "num_buckets: 500")),
    row("train", "boundaries that descend", "boundaries", "ascend", spoil=replaced('expression: "user:age"', 'expression: "user:age" boundaries: [2, 1] embedding_dim: 4')),
    row("train", "boundaries without a width", "boundaries", "embedding_dim", spoil=replaced('expression: "user:age"', 'expression: "user:age" boundaries: [1, 2]')),
    row("train", "boundaries that are not numbers", "boundaries", "finite", spoil=replaced('expression: "user:age"', 'expression: "user:age" boundaries: [1, nan] embedding_dim: 4')),
    row("train", "numbers of no width", "value_dim", "how many", spoil=replaced('expression: "user:age"', 'expression: "user:age" value_dim: 0')),
    row("train", "a normalizer that is not there", "zscor", 'did you mean "zscore"?', spoil=replaced('expression: "user:age"', 'expression: "user:age" normalizer: "method=zscor"')),
    row("train", "a normalizer that lacks a number", "zscore", "standard_deviation", spoil=replaced('expression: "user:age"', 'expression: "user:age" normalizer: "method=zscore,mean=1"')),
    row("train", "an expression that ends too early", ('"f"', "a +"), "position", spoil=user('expr_feature { feature_name: "f" expression: "a +" variables: "user:age" }')),
    row("train", "an expression with a function that is not there", "sqr", 'did you mean "sqrt"?', spoil=user('expr_feature { feature_name: "f" expression: "sqr(age)" variables: "user:age" }')),
    row("train", "an expression that runs a program", '"f"', "position", spoil=user("""expr_feature { feature_name: "f" expression: "__import__('os').system('id')" variables: "user:age" }""")),
    feature("one expression to combine", 'combo_feature { feature_name: "f" expression: "user:age" hash_bucket_size: 9 embedding_dim: 4 }', "combines two or more", "got 1"),
    feature("features that read one another", 'id_feature { feature_name: "f" expression: "feature:f" num_buckets: 9 embedding_dim: 4 }', "f -> f", "circle"),
    feature("a feature of a feature that is not there", 'id_feature { feature_name: "f" expression: "feature:nobody" num_buckets: 9 embedding_dim: 4 }', '"nobody"', "not there"),
    feature("a feature of constants only", 'id_feature { feature_name: "f" expression: "const:3" num_buckets: 9 embedding_dim: 4 }', '"f"', "constants"),
    feature("a sequence in a group of single values", 'sequence_id_feature { feature_name: "f" expression: "user:seen" num_buckets: 400 embedding_dim: 4 }', '"f"', "sequence_groups"),
    feature("a way to cut text that is not there", 'tokenize_feature { feature_name: "f" expression: "user:age" vocab_file: "nowhere" embedding_dim: 4 }', ('"f"', "vocab_file", "nowhere"), "No such file"),
    feature("a kind of feature that is not there", 'idd_feature { feature_name: "f" }', "idd_feature", 'did you mean "id_feature"?'),
    feature("a measure of overlap that is not there", 'overlap_feature { feature_name: "f" query: "user:age" title: "user:seen" method: "index" }', "method", "query_common_ratio"),
]  # fmt: skip

VOCABULARIES = [
    row("train", "a vocabulary file of a name too long", ('"cate"', "name too long"), "give a file", spoil=replaced(VOCAB, f'vocab_file: "{"b" * 5000}" default_bucketize_value: 0')),
    feature("a map that is a column of numbers", 'lookup_feature { feature_name: "f" map: "user:age" key: "item:cate" }', ('"f"', "double"), "give Arrow maps"),
    row("train", "a vocabulary file that is not there", ('"cate"', "nowhere"), "give a file", spoil=replaced(VOCAB, 'vocab_file: "nowhere" default_bucketize_value: 0')),
    row("train", "a vocabulary file that is a folder", ('"cate"', "train"), "directory", spoil=replaced(VOCAB, 'vocab_file: "train" default_bucketize_value: 0')),
    vocabulary("an empty vocabulary file", "", "empty", "word a line"),
    vocabulary("a vocabulary file of bytes", b"\xff\xfe\x00c0\n", "UTF-8", "UTF-8"),
    vocabulary("a vocabulary file with a word twice", "x\nc0\nc0\n", ":3", "twice"),
    vocabulary("a vocabulary file with an empty line", "x\n\nc0\n", ":2", "no word"),
    vocabulary("a vocabulary file with an id that is none", "x\t0\nc0\tone\n", (":2", '"one"'), "integer from 0"),
    vocabulary("a vocabulary file with an id below 0", "x\t0\nc0\t-1\n", (":2", '"-1"'), "integer from 0"),
    vocabulary("a vocabulary file with ids here and there", "x\t0\nc0\n", ":2", "every line"),
    vocabulary("a vocabulary file with ids beyond memory", "x\t0\nc0\t99999999999999\n", ":2", "id"),
    *(
        row(
            "train",
            f"a tokenizer of {attack}",
            ('"f"', "tokenizer.bin"),
            "model",
            spoil=lambda desk, content=content, kind=kind: (
                (desk / "tokenizer.bin").write_bytes(content),
                user(f'tokenize_feature {{ feature_name: "f" expression: "item:cate" vocab_file: "tokenizer.bin" embedding_dim: 4 {kind} }}')(desk),
            )[0],
        )
        for attack, content, kind in (
            ("an empty file, BPE", b"", "tokenizer_type: \\\"bpe\\\"".replace("\\", "")),
            ("garbage, BPE", b"\x93garbage" * 40, 'tokenizer_type: "bpe"'),
            ("garbage, sentencepiece", b"\x93garbage" * 40, 'tokenizer_type: "sentencepiece"'),
        )
    ),
]  # fmt: skip

ROWS = [*RULES, *VOCABULARIES]
