"""Values outside their buckets, counted apart: those of training rows and those of evaluation rows.

The attack: evaluations in the midst of a pass added to what the line of training said at its end.
"""

import json

import pyarrow.parquet as pq

from tests.small import Small, command

LINE = 'rank 0: {}feature "user_id": {} values outside its 150 buckets'


def outside(small: Small, folder: str) -> int:
    return sum(user >= 150 for user in pq.read_table(small.root / folder)["user_id"].to_pylist())


def test_training_counts_its_own_rows_and_evaluation_its_own(small: Small) -> None:
    edits = {
        "feature_configs[0].id_feature.num_buckets": 150,
        "train_config.num_steps": None,
        "train_config.num_epochs": 1,
        "train_config.save_checkpoints_steps": 10,
    }
    words = ("--pipeline_config_path", small.config, "--edit_config_json", json.dumps(edits))
    done = command("tzrec.train_eval", *words)
    assert done.returncode == 0, done.stderr
    of_train, of_eval = (
        LINE.format("", outside(small, "train")),
        LINE.format("evaluation: ", outside(small, "eval")),
    )
    # 30 steps: evaluations at 10, 20 and 30, and training's line at its end.
    assert done.stdout.count(of_eval) == 3
    assert done.stdout.count(of_train) == 1
    assert done.stdout.count("values outside") == 4
    done = command("tzrec.eval", "--pipeline_config_path", small.model / "pipeline.config")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(of_eval) == 1
