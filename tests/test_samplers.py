"""Every sampler and every way to use the items of the batch, through the real commands."""

import json
from pathlib import Path

import pytest

from tests.small import ITEMS, TASTES, USERS, Small, command, make_small

NEGATIVE = 'num_sample: 32 attr_fields: ["item_id", "cate"] item_id_field: "item_id" attr_delimiter: "\\x02"'
TABLES = (
    'user_input_path: "{root}/users.txt" item_input_path: "{root}/negatives.txt" user_id_field: "user_id"'
)
POSITIVE = 'pos_edge_input_path: "{root}/liked.txt"'
HARD = 'hard_neg_edge_input_path: "{root}/disliked.txt" num_hard_sample: 3'
SAMPLERS = {
    "negative_sampler": 'input_path: "{root}/negatives.txt"',
    "negative_sampler_v2": f"{TABLES} {POSITIVE}",
    "hard_negative_sampler": f"{TABLES} {HARD}",
    "hard_negative_sampler_v2": f"{TABLES} {POSITIVE} {HARD}",
}


def with_edges(small: Small, text_ids: bool) -> None:
    """Users like the items of their history and dislike the ones two tastes further."""
    prefix, kind = ("item ", "string") if text_ids else ("", "int64")
    header = f"user_id:int64\titem_id:{kind}\tweight:float\n"
    users = "".join(f"{user}\t1\n" for user in range(USERS))
    (small.root / "users.txt").write_text("id:int64\tweight:float\n" + users)
    for name, shift in (("liked", 0), ("disliked", 2)):
        lines = [
            f"{user}\t{prefix}{(user + shift + TASTES * step) % ITEMS}\t1\n"
            for user in range(USERS)
            for step in range(4)
        ]
        (small.root / f"{name}.txt").write_text(header + "".join(lines))


def reconfigure(small: Small, sampler: str = "", dssm: str = "", data: str = "") -> None:
    """Another sampler in the place of the one that the small configuration has."""
    text = small.config.read_text()
    begin, end = text.index("  negative_sampler {"), text.index("feature_configs")
    text = text[:begin] + data + sampler + "}\n" + text[end:]
    text = text.replace("temperature: 0.1", f"temperature: 0.1 {dssm}")
    small.config.write_text(text.replace("num_steps: 16", "num_steps: 48").replace("steps: 8", "steps: 48"))


def recalls(small: Small) -> list[float]:
    lines = (small.model / "train_eval_result.txt").read_text().splitlines()
    return [json.loads(line)["recall@5"] for line in lines]


def train(small: Small, processes: int = 1, **variables: str) -> float:
    """recall@5 after training."""
    done = command(
        "tzrec.train_eval", "--pipeline_config_path", small.config, processes=processes, **variables
    )
    assert done.returncode == 0, done.stderr
    return recalls(small)[-1]


# Of 33 candidates a guess finds the positive among the first five in 0.15 of the rows.
@pytest.mark.parametrize(
    ("name", "text_ids", "processes"),
    [
        ("negative_sampler", True, 1),
        ("negative_sampler_v2", False, 1),
        ("hard_negative_sampler", False, 1),
        ("hard_negative_sampler_v2", False, 2),
        ("hard_negative_sampler_v2", True, 1),
    ],
)
def test_training_with_each_sampler_learns(tmp_path: Path, name: str, text_ids: bool, processes: int) -> None:
    small = make_small(tmp_path, text_ids=text_ids)
    with_edges(small, text_ids)
    body = SAMPLERS[name].format(root=tmp_path)
    reconfigure(small, f"  {name} {{ {body} {NEGATIVE} num_eval_sample: 40 }}\n")
    variables = {"USE_HASH_NODE_ID": "1"} if text_ids else {}
    assert train(small, processes, **variables) > 0.3


@pytest.mark.parametrize("exclusion", ["EXCLUDE_ROW", "EXCLUDE_NOTHING"])
def test_other_exclusions_learn_too(tmp_path: Path, exclusion: str) -> None:
    small = make_small(tmp_path)
    body = SAMPLERS["negative_sampler"].format(root=tmp_path)
    reconfigure(small, f"  negative_sampler {{ {body} {NEGATIVE} exclusion: {exclusion} }}\n")
    assert train(small) > 0.3


@pytest.mark.parametrize("mixed", [False, True])
def test_in_batch_and_mixed_negatives_learn(tmp_path: Path, mixed: bool) -> None:
    small = make_small(tmp_path)
    body = SAMPLERS["negative_sampler"].format(root=tmp_path)
    sampler = f"  negative_sampler {{ {body} {NEGATIVE} }}\n" if mixed else ""
    data = "" if mixed else '  item_id_field: "item_id"\n'
    reconfigure(
        small, sampler, "in_batch_negative: true mask_accidental_hits: true logq_correction: true", data
    )
    # A guess: 5 of 101 or 133 candidates.
    assert train(small, processes=2) > 0.15
