"""The whole tutorial on generated data: the model must beat what needs no model."""

import json
from pathlib import Path

import pytest

from tests.small import command

ML_100K = Path(__file__).parents[2] / "shared" / "data" / "ml-100k"


def test_the_demo_beats_popularity(tmp_path: Path) -> None:
    sizes = "--users 3000 --items 4000 --train_rows 60000 --eval_users 1500"
    done = command(
        "tzrec.tools.tutorial",
        *("demo", "--work_dir", tmp_path / "run", "--prepare_flags", sizes),
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    rates = json.loads((tmp_path / "run" / "summary.json").read_text())["hit_rates"]
    # Measured: model 0.56, most popular 0.28, random 0.05.
    assert rates["model"] > 1.5 * rates["most popular"]
    assert rates["most popular"] > 2 * rates["random"]
    assert "hit rate@200" in done.stdout


@pytest.mark.skipif(not ML_100K.is_dir(), reason="skipped: no real data")
def test_movielens_beats_popularity(tmp_path: Path) -> None:
    done = command(
        "tzrec.tools.tutorial",
        *("movielens", "--input_dir", ML_100K, "--work_dir", tmp_path / "run"),
        *("--edit_config_json", '{"train_config.num_epochs": 8}'),
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    rates = json.loads((tmp_path / "run" / "summary.json").read_text())["hit_rates"]
    assert rates["model"] > rates["most popular"]
