"""Mistakes in features and groups that need no data: each line names the place and what to do."""

# ruff: noqa: E501 (tables of configurations and messages)

import pytest

from tzrec.config import load_pipeline, validate
from tzrec.runtime.errors import UserError

ID = 'id_feature { feature_name: "f" expression: "user:c" embedding_dim: 4 num_buckets: 5 }'
GROUPED = 'sequence_feature { sequence_name: "s" sequence_length: 5 sequence_delim: ";" features { %s } }'
CONFIG = """
train_input_path: "a" eval_input_path: "b" model_dir: "c"
data_config {{ dataset_type: {dataset} fg_mode: {fg_mode} {data} }}
feature_configs {{ id_feature {{ feature_name: "u" expression: "user:u" embedding_dim: 4 num_buckets: 5 }} }}
feature_configs {{ id_feature {{ feature_name: "i" expression: "item:i" embedding_dim: 4 num_buckets: 5 }} }}
feature_configs {{ sequence_id_feature {{ feature_name: "q" expression: "user:q" sequence_length: 3 embedding_dim: 4 num_buckets: 5 }} }}
{features}
model_config {{
  feature_groups {{ group_name: "user" feature_names: "u" group_type: DEEP {group} }}
  feature_groups {{ group_name: "item" feature_names: "i" group_type: DEEP }}
  dssm {{ user_tower {{ input: "user" }} item_tower {{ input: "item" }} output_dim: 4 in_batch_negative: true }}
}}
"""


def check(
    tmp_path,
    feature: str = "",
    group: str = "",
    data: str = "",
    fg_mode: str = "FG_DAG",
    dataset: str = "ParquetDataset",
) -> str:
    features = f"feature_configs {{ {feature} }}" if feature else ""
    text = CONFIG.format(features=features, group=group, data=data, fg_mode=fg_mode, dataset=dataset)
    (tmp_path / "a.config").write_text(text)
    try:
        return "\n".join(validate(load_pipeline(str(tmp_path / "a.config"))))
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (ID.replace("num_buckets: 5", 'vocab_file: "w"'), "vocab_file, which wants a default_bucketize_value"),
        (ID.replace("num_buckets: 5", 'vocab_dict { key: "a" value: 1 }'), 'vocab_dict gives "a" the id 1; ids begin at 2'),
        (ID.replace("num_buckets: 5", "num_buckets: 5 default_bucketize_value: 1"), "default_bucketize_value, which is for vocab_list"),
        (ID.replace("num_buckets: 5", 'num_buckets: 5 asset_dir: "d"'), "asset_dir is the folder of vocab_file"),
        (ID.replace("num_buckets: 5", 'num_buckets: 5 fg_value_type: "int46"'), 'fg_value_type is one of "string", "int32", "int64", "float", "double", got "int46"; did you mean "int64"?'),
        (ID.replace("num_buckets: 5", 'num_buckets: 5 data_type: "FP8"'), 'data_type is one of "FP32", "FP16"'),
        (ID.replace("num_buckets: 5", "num_buckets: 5 sequence_length: 3"), "sequence_length is of sequences; name the feature sequence_id_feature"),
        (ID.replace("user:c", "const:c"), '"f" reads constants only'),
        (ID.replace("user:c", "feature:uu"), '"f" reads the feature "uu", which is not there'),
        ('raw_feature { feature_name: "f" expression: "user:c" normalizer: "method=zscor" }', 'normalizer "method=zscor" does not begin with method=NAME; did you mean "zscore"?'),
        ('raw_feature { feature_name: "f" expression: "user:c" normalizer: "method=zscore,mean=1" }', "zscore wants standard_deviation"),
        ('raw_feature { feature_name: "f" expression: "user:c" normalizer: "method=zscore,mean=x,standard_deviation=1" }', 'mean="x" is no number'),
        ('raw_feature { feature_name: "f" expression: "user:c" normalizer: "method=expression,expr=x+y" }', 'position 3: no variable "y"'),
        ('raw_feature { feature_name: "f" expression: "user:c" mlp {} }', '"f" has mlp, which wants an embedding_dim'),
        ('raw_feature { feature_name: "f" expression: "user:c" boundaries: 1 embedding_dim: 4 autodis { num_channels: 2 } }', "autodis is for numbers without boundaries"),
        ('raw_feature { feature_name: "f" expression: "user:c" pooling: "mean" embedding_dim: 4 }', 'pooling changes nothing: "f" looks up no table'),
        ('combo_feature { feature_name: "f" expression: "user:a" embedding_dim: 4 hash_bucket_size: 5 }', "combines two or more expressions, got 1"),
        ('combo_feature { feature_name: "f" expression: ["user:a", "b"] embedding_dim: 4 hash_bucket_size: 5 }', 'expression "b" is not side:name'),
        ('combo_feature { feature_name: "f" expression: ["user:a", "user:b"] hash_bucket_size: 5 }', "hash_bucket_size, which wants an embedding_dim"),
        ('lookup_feature { feature_name: "f" map: "user:m" key: "item:k" need_discrete: true embedding_dim: 4 }', "wants exactly one of hash_bucket_size"),
        ('lookup_feature { feature_name: "f" map: "user:m" key: "item:k" combiner: "avrg" }', 'combiner is one of "sum"'),
        ('lookup_feature { feature_name: "f" map: "user:m" key: "item:k" boundaries: 1 num_buckets: 5 embedding_dim: 4 }', "wants at most one of"),
        ('lookup_feature { feature_name: "f" map: "user:m" key: "item:k" hash_bucket_size: 5 embedding_dim: 4 normalizer: "method=log10" }', "gives text, which a normalizer cannot take"),
        ('match_feature { feature_name: "f" nested_map: "user:m" pkey: "usr:p" skey: "ALL" }', 'pkey "usr:p" has the side "usr"; did you mean "user"?'),
        ('expr_feature { feature_name: "f" expression: "a +" variables: "user:a" }', 'a.config:7:52: "f": expression "a +": ends too early, at position 4'),
        ('expr_feature { feature_name: "f" expression: "a $ 1" variables: "user:a" }', 'position 3: "$" is not expected'),
        ('expr_feature { feature_name: "f" expression: "sqr(a)" variables: "user:a" }', 'position 1: no function "sqr"; did you mean "sqrt"?'),
        ('expr_feature { feature_name: "f" expression: "mod(a)" variables: "user:a" }', "mod takes 2 arguments, got 1"),
        ('expr_feature { feature_name: "f" expression: "a" variables: ["user:a", "const:3"] }', "write the number into the expression"),
        ('expr_feature { feature_name: "f" expression: "a" variables: ["user:a", "item:a"] }', "is no name of a variable, or stands twice"),
        ('overlap_feature { feature_name: "f" query: "user:q" title: "item:t" method: "index" }', 'method is one of "query_common_ratio"'),
        ('bool_mask_feature { feature_name: "f" expression: "user:q" embedding_dim: 4 num_buckets: 5 }', "wants two expressions, values and mask, got 1"),
        ('kv_dot_product { feature_name: "f" query: "user:q" document: "item:d" kv_delimiter: 1 }', "kv_delimiter of kv_dot_product is not built"),
        (GROUPED % 'id_feature { feature_name: "f" expression: "feature:u" embedding_dim: 4 num_buckets: 5 }', '"s__f" has no input that is a sequence; name it in sequence_fields'),
        (GROUPED % 'id_feature { feature_name: "f" expression: "user:c" embedding_dim: 4 num_buckets: 5 sequence_length: 2 }', 'sequence_length stands in sequence_feature "s" for all'),
        (GROUPED % 'combo_feature { feature_name: "f" expression: ["user:a", "user:b"] embedding_dim: 4 hash_bucket_size: 5 }', "or give it the side item:"),
        (GROUPED % 'id_feature { feature_name: "f" expression: "user:c" embedding_dim: 4 num_buckets: 5 sequence_fields: "d" }', 'sequence_fields: "s__f" has no input "d"'),
        ('sequence_feature { sequence_name: "s" sequence_length: 5 sequence_delim: ";" }', '"s" has no features'),
        (ID.replace("num_buckets: 5", 'num_buckets: 5 embedding_name: "u_emb" trainable: false'), "share the table \"u_emb\" but not its trainable"),
        (ID.replace("embedding_dim: 4 num_buckets: 5", 'embedding_dim: 4 vocab_dict { key: "a" value: 9 } default_bucketize_value: 0 embedding_name: "u_emb"'), "not its rows: 10 and 5"),
    ],
)  # fmt: skip
def test_features(tmp_path, feature: str, message: str) -> None:
    assert message in check(tmp_path, feature)


def test_a_normal_mode_has_no_references(tmp_path) -> None:
    assert "feature: is for FG_DAG only" in check(
        tmp_path, ID.replace("user:c", "feature:u"), fg_mode="FG_NORMAL"
    )


ENCODE = 'sequence_groups { group_name: "h" feature_names: ["u", "q"] } sequence_encoders { %s }'


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ('feature_names: "q"', 'is DEEP and "q" is a sequence; name it in sequence_groups'),
        ('sequence_groups { group_name: "h" feature_names: "u" } sequence_encoders { pooling_encoder { input: "h" } }', 'sequence group "h" has no feature that is a sequence'),
        ('sequence_groups { group_name: "h" feature_names: "q" }', 'no encoder reads the sequence group "h"'),
        (ENCODE % 'pooling_encoder { input: "hh" }', 'reads the sequence group "hh", which is not there'),
        (ENCODE % 'pooling_encoder { input: "h" pooling_type: "max" }', 'pooling_type is one of "mean", "sum"'),
        (ENCODE % 'multi_window_din_encoder { input: "h" attn_mlp {} }', "wants windows_len"),
        (ENCODE % 'self_attention_encoder { input: "h" multihead_attn_dim: 9 num_heads: 2 }', "9 is no multiple of num_heads 2"),
        (ENCODE % 'pooling_encoder { input: "h" max_seq_length: -1 }', "max_seq_length must not be negative"),
        (ENCODE % "", "name an encoder"),
    ],
)  # fmt: skip
def test_groups(tmp_path, group: str, message: str) -> None:
    assert message in check(tmp_path, group=group)
    assert check(tmp_path, group=ENCODE % 'simple_attention { input: "h" }') == ""


def test_stubs_are_not_given_to_the_model(tmp_path) -> None:
    stub = ID.replace("num_buckets: 5", "num_buckets: 5 stub_type: true")
    assert 'names "f", which has stub_type: true' in check(tmp_path, stub, group='feature_names: "f"')


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "give input_fields, or with_header: true"),
        ('input_fields_str: "a:INT"', 'input_fields_str: "a:INT" is not name:TYPE'),
        ('input_fields_str: "a:INT64;a:STRING"', 'input_fields names "a" twice'),
        ('input_fields_str: "a:ARRAY_INT64"', '"a" is ARRAY_INT64, which a CSV field cannot hold'),
        ('with_header: true delimiter: "::"', 'delimiter "::" is not one ASCII character'),
        ("with_header: true sample_mask_prob: 1.5", "sample_mask_prob must be from 0 to 1"),
        ("with_header: true negative_sample_mask_prob: 0.5", "data_config has no sampler"),
    ],
)
def test_csv_and_masks(tmp_path, data: str, message: str) -> None:
    assert message in check(tmp_path, data=data, dataset="CsvDataset")
    masked = ID.replace("num_buckets: 5", "num_buckets: 5 use_mask: true")
    masking = "with_header: true sample_mask_prob: 0.5"
    assert check(tmp_path, masked, data=masking, dataset="CsvDataset") == ""
    assert "a.config:3:" in (said := check(tmp_path, ID, data=masking, dataset="CsvDataset"))
    assert "sample_mask_prob takes features away that have use_mask: true, and none has" in said


@pytest.mark.parametrize("dataset", ["OdpsDataset", "OdpsDatasetV1", "KafkaDataset"])
def test_tables_that_are_not_read(tmp_path, dataset: str) -> None:
    message = (
        f"dataset_type: {dataset} is not built yet in this version; built are ParquetDataset, CsvDataset"
    )
    assert message in check(tmp_path, dataset=dataset)


def test_a_feature_must_not_have_the_name_of_a_lookup(tmp_path) -> None:
    """Two parts of one name: the vectors of one of them would be lost without a word."""
    same = 'raw_feature { feature_name: "u@u_emb_x" expression: "user:c" }'
    mistake = check(tmp_path, same, 'embedding_name_suffix: "_x" feature_names: "u@u_emb_x"')
    assert '"u" is looked up as "u@u_emb_x", which is the name of another feature' in mistake
    assert check(tmp_path, same, 'embedding_name_suffix: "_y" feature_names: "u@u_emb_x"') == ""
