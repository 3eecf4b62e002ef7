"""A user's mistake: one line on stderr, status 2, nothing under a final name, every rank ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small import Small, command


def edit(text: str) -> list[str]:
    return ["--edit_config_json", text]


def corrupt(name: str) -> Callable[[Small], list[str]]:
    def spoil(small: Small) -> list[str]:
        # The footer stays whole, so the damage shows only when rows are read.
        path = small.root / "train" / name
        content = bytearray(path.read_bytes())
        content[4:2000] = b"\xff" * 1996
        path.write_bytes(bytes(content))
        return []

    return spoil


def no_parquet(small: Small) -> list[str]:
    (small.root / "train" / "a.parquet").write_text("this is no parquet")
    return []


def bad_field(small: Small) -> list[str]:
    small.config.write_text(small.config.read_text().replace("num_steps", "num_stepz"))
    return []


def bad_table(small: Small) -> list[str]:
    path = small.root / "negatives.txt"
    path.write_text(path.read_text().replace("7\t1.0\t7\x02", "7\t1.0\t", 1))
    return []


def model_dir(small: Small) -> list[str]:
    folder = small.model / "model.ckpt-5"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    return []


def missing_column(small: Small) -> list[str]:
    small.config.write_text(small.config.read_text().replace("user:age", "user:agee"))
    return []


TRAIN: dict[str, tuple[Callable[[Small], list[str]], str]] = {
    "missing file": (
        lambda small: ["--train_input_path", "nowhere.parquet"],
        "nowhere.parquet matches no file",
    ),
    "empty glob": (lambda small: ["--eval_input_path", f"{small.root}/none/*.parquet"], "matches no file"),
    "bad flag": (
        lambda small: ["--model_dirr", "x"],
        'unknown flag --model_dirr; did you mean "--model_dir"?',
    ),
    "bad field": (bad_field, 'did you mean "num_steps"?'),
    "bad edit": (lambda small: edit('{"data_config.batch_size": "many"}'), "many"),
    "edit of nothing": (lambda small: edit('{"data_config.batchsize": 5}'), 'did you mean "batch_size"?'),
    "edit that is not JSON": (lambda small: edit("{oops"), "--edit_config_json"),
    "missing column": (missing_column, 'no column "agee"; did you mean "age"?'),
    "malformed negative table": (bad_table, "negatives.txt:9: 1 attributes"),
    "existing model_dir": (model_dir, "already holds model.ckpt-5"),
    "no parquet": (no_parquet, "cannot be read as parquet"),
    "corrupt parquet": (corrupt("a.parquet"), "a.parquet: cannot be read as parquet"),
}


TWO: dict[str, tuple[Callable[[Small], list[str]], str]] = {
    **{name: TRAIN[name] for name in ("bad flag", "missing column", "malformed negative table")},
    # Only the second rank reads this file to its end and only the first one reads the other.
    "corrupt on one rank": (corrupt("b.parquet"), "b.parquet: cannot be read as parquet"),
}


def own_lines(stderr: str, module: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith(f"{module}: error:")]


def results(folder: Path) -> list[str]:
    """What stands under a final name."""
    if not folder.exists():
        return []
    return [entry.name for entry in folder.iterdir() if entry.name.startswith("model.ckpt-")]


@pytest.mark.parametrize("name", sorted(TRAIN))
def test_training_alone(small: Small, name: str) -> None:
    spoil, message = TRAIN[name]
    words = spoil(small)
    before = results(small.model)
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert results(small.model) == before


@pytest.mark.parametrize("name", sorted(TWO))
def test_training_with_two_processes(small: Small, name: str) -> None:
    spoil, message = TWO[name]
    words = spoil(small)
    done = command(
        "tzrec.train_eval", "--pipeline_config_path", small.config, *words, processes=2, timeout=60
    )
    assert done.returncode != 0
    (line,) = own_lines(done.stderr, "tzrec.train_eval")
    assert message in line
    # The rest is torchrun's own report of the rank that failed first, with our status.
    assert "exitcode" in done.stderr
    assert results(small.model) == []


def test_export_into_a_folder_that_holds_something(trained: Small, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = command(
        "tzrec.export", "--pipeline_config_path", trained.model / "pipeline.config", "--export_dir", tmp_path
    )
    assert done.returncode == 2
    assert "already holds something" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_export_without_a_checkpoint(small: Small, tmp_path: Path) -> None:
    out = tmp_path / "export"
    done = command("tzrec.export", "--pipeline_config_path", small.config, "--export_dir", out)
    assert done.returncode == 2
    assert "holds no checkpoint" in done.stderr
    assert not out.exists()


def test_continuing_with_a_configuration_that_does_not_fit(small: Small) -> None:
    assert command("tzrec.train_eval", "--pipeline_config_path", small.config).returncode == 0
    small.config.write_text(small.config.read_text().replace("hidden_units: [16]", "hidden_units: [24]"))
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, "--continue_train")
    assert done.returncode == 2, done.stderr
    assert "does not fit the model" in done.stderr
