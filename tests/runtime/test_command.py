"""The shape of a command: nearest flags, exit status, one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tzrec.runtime.command import USER_ERROR, Parser, explain, split_names
from tzrec.runtime.errors import UserError, nearest
from tzrec.runtime.progress import duration
from tzrec.runtime.world import World


def test_unknown_flags_name_the_nearest() -> None:
    parser = Parser("tzrec.x", "")
    parser.add_argument("--model_dir", required=True)
    with pytest.raises(UserError, match=r'unknown flag --model_dri; did you mean "--model_dir"\?'):
        parser.parse_args(["--model_dir", "a", "--model_dri=b"])
    with pytest.raises(UserError, match="required: --model_dir"):
        parser.parse_args([])
    with pytest.raises(UserError, match=r'unexpected word "b\.parquet"'):
        parser.parse_args(["--model_dir", "a", "b.parquet"])


def test_small_helpers() -> None:
    assert split_names(" a, b,,") == ["a", "b"]
    assert nearest("xyz", ["abc"]) == ""
    assert [duration(1.23), duration(61), duration(3723)] == ["1.2 s", "1:01", "1:02:03"]


def test_shares_of_the_ranks_follow_one_another() -> None:
    assert [World(rank, 3).share(10) for rank in range(3)] == [(0, 3), (3, 6), (6, 10)]


@pytest.mark.parametrize(
    "module",
    [
        "train_eval",
        "eval",
        "export",
        "predict",
        "tools.hitrate",
        "tools.create_faiss_index",
        "tools.prepare_data",
        "tools.tutorial",
    ],
)
def test_help_answers_without_torch(module: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['x', '--help']\n"
        "try:\n"
        f"    runpy.run_module('tzrec.{module}', run_name='__main__')\n"
        "except SystemExit as leaving:\n"
        "    assert not leaving.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout
    assert f"tzrec.{module}" in done.stdout


def test_the_first_to_report_speaks_although_the_launcher_ends_it(tmp_path: Path) -> None:
    """torchrun sends SIGTERM as soon as another rank has gone, which may be in the middle of a report."""
    code = (
        "import os, signal\n"
        "from tzrec.runtime import command\n"
        "from tzrec.runtime.errors import UserError\n"
        "claimed = command.first_to_report\n"
        "def interrupted():\n"
        "    first = claimed()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return first\n"
        "command.first_to_report = interrupted\n"
        "def main(words):\n"
        "    raise UserError('what was wrong')\n"
        "command.run('tzrec.x', main, [])\n"
    )
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "2", "TMPDIR": str(tmp_path)}
    environment |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (2, "\ntzrec.x: error: what was wrong\n")


def test_a_name_that_the_locale_cannot_write_is_one_line() -> None:
    """A file of the configuration outside ASCII under LC_ALL=C: Python cannot even ask the system for it."""
    try:
        "模型/a.config".encode("ascii")
    except UnicodeEncodeError as error:
        text, status = explain(error)
    assert status == USER_ERROR
    assert text.startswith('"模型/a.config" cannot be written in the encoding of this locale, ascii; set ')


def test_any_text_can_be_said_in_an_ascii_terminal() -> None:
    code = "from tzrec.runtime.command import run; run('x', lambda words: print('\\u7c7b\\u76ee \\udce9'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert (done.returncode, done.stdout) == (0, "\\u7c7b\\u76ee \\udce9\n"), done.stderr


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (MemoryError(), ""),
        (MemoryError("Unable to allocate 16.0 GiB for an array"), " (could not allocate 16.0 GiB)"),
        (
            RuntimeError("can't allocate memory: you tried to allocate 515396075280 bytes. Error"),
            " (could not allocate 515396075280 bytes)",
        ),
    ],
)
def test_memory_that_the_system_does_not_give_is_one_line(error: BaseException, asked: str) -> None:
    text, status = explain(error)
    assert text.startswith(f"out of memory{asked}; ask for less (rows, batch_size,")
    assert status == 2
