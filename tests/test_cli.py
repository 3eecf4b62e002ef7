"""The console script: every command by its short name, the same as its module."""

import subprocess
import sys

import pytest

from tzrec import __version__
from tzrec.cli import COMMANDS


def tzrec(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tzrec.cli", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_its_module(name: str) -> None:
    module = subprocess.run(
        [sys.executable, "-m", COMMANDS[name][0], "--help"], capture_output=True, text=True, check=True
    )
    done = tzrec(name, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (0, module.stdout, "")


def test_a_mistake_of_a_command() -> None:
    done = tzrec("train", "--pipeline_config_path", "a", "--model_dirr", "x")
    assert done.returncode == 2
    assert 'tzrec.train_eval: error: unknown flag --model_dirr; did you mean "--model_dir"?' in done.stderr


def test_help_version_and_a_wrong_name() -> None:
    for words in ((), ("--help",)):
        done = tzrec(*words)
        assert done.returncode == 0
        assert all(name in done.stdout for name in COMMANDS)
    assert tzrec("--version").stdout == f"tzrec {__version__}\n"
    done = tzrec("trian")
    assert done.returncode == 2
    assert done.stderr.startswith('tzrec: error: no command "trian"; did you mean "train"?')
    assert len(done.stderr.splitlines()) == 1
