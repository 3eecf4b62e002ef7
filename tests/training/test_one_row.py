"""Batch normalisation where a batch has a single row: training goes on to its end.

The attack: `use_bn: true` and rows that leave one for the last batch. Training ended there, and every
--continue_train at the same step.
"""

import json

import pytest

from tests.small import command, make_small
from tzrec.training.checkpoint import steps_in

BN = "{ hidden_units: [16] use_bn: true }"


@pytest.mark.parametrize(
    ("rows", "processes", "edits"),
    [
        (301, 1, {}),
        # One rank has a last row, the other none or one; in updates of several batches.
        (601, 2, {"train_config.gradient_accumulation_steps": 2}),
        # Neither tower has more than a row: a positive and no negatives.
        (
            301,
            1,
            {
                "data_config.negative_sampler": None,
                "data_config.item_id_field": "item_id",
                "model_config.dssm.in_batch_negative": True,
            },
        ),
    ],
)
def test_a_last_batch_of_one_row_trains(tmp_path, rows: int, processes: int, edits: dict) -> None:
    small = make_small(tmp_path / "small", rows=rows)
    all_edits = {
        "model_config.dssm.user_tower.mlp": BN,
        "model_config.dssm.item_tower.mlp": BN,
        "train_config.num_steps": None,
        "train_config.num_epochs": 2,
        **edits,
    }
    words = ("--pipeline_config_path", small.config, "--edit_config_json", json.dumps(all_edits))
    done = command("tzrec.train_eval", *words, processes=processes)
    assert done.returncode == 0, done.stderr
    assert steps_in(small.model)[-1] == 8
