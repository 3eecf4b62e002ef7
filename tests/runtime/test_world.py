"""How many threads a process computes with, and what a command makes of its environment."""

import os
import socket

import pytest

from tests.small import Running, command
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World, cache_dir, compute_threads


@pytest.mark.parametrize(
    ("local_size", "variable", "expected"),
    [
        (1, None, None),
        (1, "1", None),
        (2, "1", 4),  # what torchrun sets
        (3, "1", 2),
        (2, None, 4),
        (2, "3", None),
        (16, "1", 1),
    ],
)
def test_threads_of_a_process(monkeypatch, local_size: int, variable: str | None, expected) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert compute_threads(World(size=local_size, local_size=local_size)) == expected


# Attacks on the environment of a command: numbers that are none, out of range, or contradict one another.
# Each died in a traceback, or trained as if it were alone.
MEET = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
VARIABLES = (
    "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT TORCHELASTIC_RESTART_COUNT "
    "OMP_NUM_THREADS TZREC_PATIENCE USE_HASH_NODE_ID"
)
REFUSED = [
    (
        {"WORLD_SIZE": "2"},
        "WORLD_SIZE: 2 processes, without RANK and MASTER_ADDR and MASTER_PORT;",
    ),
    ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE: 2 processes, without MASTER_ADDR and MASTER_PORT;"),
    ({"WORLD_SIZE": "2", **MEET}, "WORLD_SIZE: 2 processes, without RANK;"),
    (
        {"WORLD_SIZE": "2", "RANK": "2", **MEET},
        'RANK: "2" is not a whole number from 0 to 1, for WORLD_SIZE',
    ),
    ({"WORLD_SIZE": "2", "RANK": "-1", **MEET}, 'RANK: "-1" is not'),
    ({"WORLD_SIZE": "2", "RANK": "one", **MEET}, 'RANK: "one" is not'),
    ({"WORLD_SIZE": "2", "RANK": "0", **MEET, "MASTER_PORT": "http"}, 'MASTER_PORT: "http" is not'),
    ({"WORLD_SIZE": "2", "RANK": "0", **MEET, "MASTER_PORT": "70000"}, 'MASTER_PORT: "70000" is not'),
    ({"WORLD_SIZE": "two"}, 'WORLD_SIZE: "two" is not 1 or more; start with torchrun, or unset WORLD_SIZE'),
    ({"WORLD_SIZE": "0"}, 'WORLD_SIZE: "0" is not 1 or more'),
    ({"WORLD_SIZE": "-2"}, 'WORLD_SIZE: "-2" is not 1 or more'),
    ({"WORLD_SIZE": "1.5"}, 'WORLD_SIZE: "1.5" is not 1 or more'),
    ({"WORLD_SIZE": ""}, 'WORLD_SIZE: "" is not 1 or more'),
    ({"WORLD_SIZE": "9" * 5000}, "is not 1 or more"),
    ({"RANK": "3"}, 'RANK: "3" is not a whole number from 0 to 0, for WORLD_SIZE is 1'),
    ({"LOCAL_RANK": "1"}, 'LOCAL_RANK: "1" is not a whole number from 0 to 0'),
    ({"LOCAL_WORLD_SIZE": "0"}, 'LOCAL_WORLD_SIZE: "0" is not a whole number from 1 to 1'),
    ({"TORCHELASTIC_RESTART_COUNT": "x"}, 'TORCHELASTIC_RESTART_COUNT: "x" is not 0 or more'),
    (
        {"OMP_NUM_THREADS": "abc"},
        'OMP_NUM_THREADS: "abc" is no number of threads from 1 to 9999; set',
    ),
    ({"OMP_NUM_THREADS": "0"}, 'OMP_NUM_THREADS: "0" is no number'),
    ({"OMP_NUM_THREADS": "-4"}, 'OMP_NUM_THREADS: "-4" is no number'),
    ({"OMP_NUM_THREADS": "100000"}, 'OMP_NUM_THREADS: "100000" is no number'),
    ({"TZREC_PATIENCE": "soon"}, 'TZREC_PATIENCE: "soon" is no number of seconds above 0'),
    ({"TZREC_PATIENCE": "nan"}, 'TZREC_PATIENCE: "nan" is no number'),
    ({"TZREC_PATIENCE": "-1"}, 'TZREC_PATIENCE: "-1" is no number'),
    ({"TZREC_PATIENCE": "1e300"}, 'TZREC_PATIENCE: "1e300" is no number'),
    ({"USE_HASH_NODE_ID": "yes"}, 'USE_HASH_NODE_ID: "yes" is neither 0 nor 1'),
]


@pytest.fixture
def bare(monkeypatch) -> pytest.MonkeyPatch:
    for name in VARIABLES.split():
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_an_environment_that_contradicts_itself_is_told(bare, given: dict[str, str], message: str) -> None:
    for name, value in given.items():
        bare.setenv(name, value)
    with pytest.raises(UserError) as error:
        World.from_environment()
    assert message in str(error.value)


def test_environments_that_are_right(bare) -> None:
    assert World.from_environment() == World()
    for name, value in {"WORLD_SIZE": "3", "RANK": "2", "OMP_NUM_THREADS": "4,2", **MEET}.items():
        bare.setenv(name, value)
    assert World.from_environment() == World(2, 3, 2, 3)
    bare.setenv("LOCAL_WORLD_SIZE", "1")
    assert World.from_environment() == World(2, 3, 0, 1)


@pytest.mark.parametrize("variable", ["TZREC_CACHE_DIR", "XDG_CACHE_HOME"])
def test_a_cache_folder_that_is_a_file_is_told(bare, tmp_path, variable: str) -> None:
    (tmp_path / "file").write_text("")
    bare.delenv("TZREC_CACHE_DIR", raising=False)
    for below in ("file", "file/below"):
        bare.setenv(variable, str(tmp_path / below))
        with pytest.raises(UserError, match=f"cannot be a folder, for {tmp_path}/file is none; name another"):
            cache_dir()
    bare.setenv(variable, str(tmp_path / "not yet" / "there"))
    assert cache_dir().is_relative_to(tmp_path)


@pytest.mark.parametrize("which", [0, 8, 18, 21])
def test_a_command_tells_of_its_environment_in_one_line(bare, small, which: int) -> None:
    given, message = REFUSED[which]
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, **given)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tzrec.train_eval: error: {message}")
    assert not small.model.exists()


def test_processes_started_by_hand_train_together(bare, small) -> None:
    """Without torchrun, by WORLD_SIZE and its kin alone, each trained as if it were alone."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    words = ("--pipeline_config_path", small.config)
    meet = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    other = Running(small.root / "other", "tzrec.train_eval", *words, RANK="1", **meet)
    done = command("tzrec.train_eval", *words, RANK="0", **meet)
    assert done.returncode == 0, done.stderr
    assert other.end() == 0
    assert "2 processes on" in done.stdout
