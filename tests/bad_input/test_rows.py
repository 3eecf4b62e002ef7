"""Every attack is answered by status 2 and one line that names the thing and the next step; nothing is left.

The attack that is repeated: somebody gives every command, one after another, every wrong thing that a
tired or a hostile user could give it: flags, configurations, tables, negatives, vectors, checkpoints,
exported models, places for the output, variables of the environment. A row of a table is one attack.
"""

import dataclasses

import pytest

from tests.bad_input.everything import ROWS
from tests.bad_input.harness import Rows
from tests.bad_input.row import GOOD, MODULES, Row, row


@pytest.mark.parametrize("one", ROWS, ids=lambda one: one.name)
def test_attack(rows: Rows, one: Row) -> None:
    found = rows.attack(one)
    assert not found, f"{one.name}\n" + "\n".join(found)


def test_there_are_rows_for_every_command_and_none_twice() -> None:
    names = [one.name for one in ROWS]
    assert len(names) >= 300
    assert len(set(names)) == len(names)
    assert {one.command for one in ROWS} == set(MODULES)
    assert sum(one.ranks > 1 for one in ROWS) >= 20


def test_the_server_has_no_threads_that_a_fork_would_lose(rows: Rows) -> None:
    server = rows.servers.get()
    rows.servers.put(server)
    # jemalloc's own, which it starts again in a child.
    assert set(server.threads) - {"jemalloc_bg_thd"} == {"python"}, server.threads
    assert server.threads.count("python") == 1


@pytest.mark.parametrize("command", sorted(set(GOOD) - {"prepare", "tutorial"}))
def test_a_row_that_succeeds_is_a_fault(rows: Rows, command: str) -> None:
    """The check of the tables themselves: without its attack no row passes."""
    found = rows.attack(row(command, "nothing at all", (), ""))
    assert "status 0" in found
    assert "0 lines of ours" in found
    assert any(text.startswith("leaves or changes") for text in found)


def test_a_line_that_says_something_else_is_a_fault(rows: Rows) -> None:
    good = row("train", "a flag that is not there", "unknown flag --x", "--help", words="--x")
    assert rows.attack(good) == []
    assert any("does not say" in text for text in rows.attack(dataclasses.replace(good, says=("other",))))
    assert any("next step" in text for text in rows.attack(dataclasses.replace(good, step="dance")))
