"""Defaults that their own features cannot take are refused by the check, at their place.

The attack: default_value set to words, fractions, numbers beyond the buckets or beyond float32, and lists of another
width. Before, each was said only when training began, and not where it stands.
"""

# ruff: noqa: E501 (tables of inputs and messages)

import pytest

from tests.config.test_feature_rules import check

ID = 'id_feature { feature_name: "f" expression: "user:c" embedding_dim: 4 %s default_value: "%s" }'
RAW = 'raw_feature { feature_name: "f" expression: "user:c" %s default_value: "%s" }'


@pytest.mark.parametrize(
    ("block", "options", "text", "wrong"),
    [
        (ID, "num_buckets: 5", "x", '"x" is not an integer; give ids, or ""'),
        (ID, "num_buckets: 5", "1.0", '"1.0" is not an integer'),
        (ID, "num_buckets: 5", "0x1", '"0x1" is not an integer'),
        (ID, "num_buckets: 5", "1e400", '"1e400" is not an integer'),
        (ID, "num_buckets: 5", "5", '"5" is outside the 5 buckets; give one inside, or ""'),
        (ID, "num_buckets: 5", "-1", '"-1" is outside the 5 buckets'),
        (ID, "num_buckets: 5", "nan", '"nan" is not finite'),
        (ID, "num_buckets: 5", "99999999999999999999", '"99999999999999999999" is outside the 5 buckets'),
        (ID, "num_buckets: 5", "1\\x1d7", '"7" is outside the 5 buckets'),
        (RAW, "", "x", '"x" is not a number; give numbers, or ""'),
        (RAW, "", "1_0", '"1_0" is not a number'),
        (RAW, "", "nan", '"nan" is not finite; give another number, or ""'),
        (RAW, "", "1e39", '"1e39" is not finite'),
        (RAW, "value_dim: 3", "1\\x1d2", "2 numbers, value_dim says 3; give one or 3"),
        (RAW, "boundaries: [1, 2] embedding_dim: 4", "inf", '"inf" is not finite'),
        (RAW, "boundaries: [1, 2] embedding_dim: 4 value_dim: 3", "1\\x1d2", "2 numbers, value_dim says 3"),
    ],
)  # fmt: skip
def test_a_default_that_its_feature_refuses_has_a_place(
    tmp_path, block: str, options: str, text: str, wrong: str
) -> None:
    said = check(tmp_path, block % (options, text))
    assert f'default_value of "f": {wrong}' in said
    line, column = said.removeprefix(f"{tmp_path}/a.config:").split(": ")[0].split(":")
    at = (tmp_path / "a.config").read_text().splitlines()[int(line) - 1][int(column) - 1 :]
    assert at.startswith("default_value")


@pytest.mark.parametrize(
    ("block", "options", "text"),
    [
        *((ID, "num_buckets: 5", text) for text in ("", "0", " 4 ", "+3", "-0", "1\\x1d2")),
        *((ID, "hash_bucket_size: 5", text) for text in ("x", "nan", "-1")),
        (ID, 'vocab_list: ["a"]', "b"),
        *((RAW, "", text) for text in ("", "1e5", " -.5", "+1")),
        *((RAW, "value_dim: 3", text) for text in ("7", "1\\x1d2\\x1d3")),
        (RAW, "boundaries: [1, 2] embedding_dim: 4", "-9"),
    ],
)
def test_a_default_that_its_feature_takes_is_accepted(tmp_path, block: str, options: str, text: str) -> None:
    assert check(tmp_path, block % (options, text)) == ""


def test_where_ids_are_ready_the_encoded_default_is_one(tmp_path) -> None:
    feature = (ID % ('vocab_list: ["a"]', "")).replace("default_value", "fg_encoded_default_value")
    assert check(tmp_path, feature.replace('""', '"1"'), fg_mode="FG_NONE") == ""
    assert '"b" is not an integer' in check(tmp_path, feature.replace('""', '"b"'), fg_mode="FG_NONE")
