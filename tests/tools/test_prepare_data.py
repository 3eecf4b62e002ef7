import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tzrec.runtime.errors import UserError
from tzrec.tools.prepare_data import main

SMALL = ["--users", "50", "--items", "60", "--train_rows", "200", "--eval_users", "20"]


def command(*words: str, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tzrec.tools.prepare_data", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


def test_demo_with_a_relative_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["demo", "--output_dir", "data/demo", *SMALL])
    out = tmp_path / "data" / "demo"
    assert sorted(path.name for path in out.iterdir()) == [
        "eval", "item", "negatives.txt", "pipeline.config", "train",
    ]  # fmt: skip
    assert pq.read_table(out / "train").num_rows == 200
    assert '\ntrain_input_path: "data/demo/train/*.parquet"\n' in (out / "pipeline.config").read_text()
    said = capsys.readouterr().out
    assert "200 rows" in said
    assert "-m tzrec.train_eval --pipeline_config_path data/demo/pipeline.config" in said


def test_an_output_that_holds_something_is_refused_and_kept(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="already holds something"):
        main(["demo", "--output_dir", str(tmp_path), *SMALL])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_left_when_the_input_is_wrong(tmp_path):
    with pytest.raises(UserError, match="neither ml-100k"):
        main(["movielens", "--input_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the first word must be the source"),
        (["--seed", "1"], "the first word must be the source"),
        (["taobo"], 'unknown source "taobo"; did you mean "taobao"'),
        (["demo"], "--output_dir"),
        (["demo", "--output_dir", "x", "--sed", "1"], 'unknown flag --sed; did you mean "--seed"'),
        (["demo", "--output_dir", "x", "--users", "many"], '"many" is no integer'),
        (["demo", "--output_dir", "x", "--users", "0"], "0 is too small"),
        (["demo", "--output_dir", "x", "--items", "9" * 20], f"--items {'9' * 20}: that is "),
        (["demo", "--output_dir", "x", "--users", "9" * 25], f"--users {'9' * 25}: that is "),
        (["demo", "--output_dir", "x", "--users", "9" * 5000], "is no integer"),
        (["demo", "--output_dir", "x", "--train_rows", "9" * 15], f"--train_rows {'9' * 15}: that is "),
        (["demo", "--output_dir", "x", "--items", "1"], "--items 1 is too small; give at least 2"),
        (["demo", "--output_dir", "x", "--seed", "-1"], "-1 is too small"),
        (["demo", "--output_dir", "x", "--seed", "nan"], '"nan" is no integer'),
        (["demo", "--output_dir", "x", "--negative_power", "nan"], "no number from 0 to 10"),
        (["demo", "--output_dir", "x*"], "has a meaning of its own"),
        (["taobao", "--output_dir", "x"], "--input_dir"),
        (["movielens", "--output_dir", "x", "--input_dir", "y", "--history_lenght", "3"], "--history_length"),
    ],
)
def test_mistakes(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(words)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line_and_status_2(tmp_path):
    done = command("demo", "--output_dir", str(tmp_path / "x"), "--sed", "1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["movielens", "--help"], ["taobao", "-h"]])
def test_help_answers(words):
    done = command(*words)
    assert done.returncode == 0
    assert "--output_dir" in done.stdout
    assert done.stderr == ""


def test_importing_the_command_loads_nothing_heavy():
    heavy = "('numpy', 'pyarrow', 'torch')"
    code = f"import sys, tzrec.tools.prepare_data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]"
