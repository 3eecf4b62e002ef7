"""Which checkpoint is meant, which ones stay, and where a run goes on."""

from pathlib import Path

import pytest

from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World
from tzrec.training.checkpoint import (
    Facts,
    Position,
    best,
    find,
    path_of,
    remove_cut_off,
    remove_old,
    steps_in,
    write_facts,
)


def save(model_dir: Path, step: int, **metrics: float) -> None:
    path_of(model_dir, step).mkdir(parents=True)
    write_facts(path_of(model_dir, step), Facts(Position(step=step), {}, metrics))


def test_the_newest_is_the_one_of_most_steps(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        save(tmp_path, step)
    assert steps_in(tmp_path) == [9, 20, 100]
    assert find(tmp_path, None).name == "model.ckpt-100"
    assert find("elsewhere", str(path_of(tmp_path, 20))).name == "model.ckpt-20"
    assert find("elsewhere", str(tmp_path)).name == "model.ckpt-100"
    with pytest.raises(UserError, match=r"has model.ckpt-9, model.ckpt-20, model.ckpt-100"):
        find(tmp_path, str(tmp_path / "model.ckpt-21"))
    with pytest.raises(UserError, match="holds no checkpoint"):
        find(tmp_path / "empty", None)


def test_the_best_one_by_a_metric(tmp_path: Path) -> None:
    save(tmp_path, 1, **{"recall@1": 0.5, "loss": 2.0})
    save(tmp_path, 2, **{"recall@1": 0.7, "loss": 3.0})
    save(tmp_path, 3, **{"recall@1": 0.6, "loss": 1.0})
    assert best(tmp_path, "recall@1", True) == path_of(tmp_path, 2)
    assert best(tmp_path, "loss", False) == path_of(tmp_path, 3)
    with pytest.raises(UserError, match=r'no evaluation reported "auc"; they report loss, recall@1'):
        best(tmp_path, "auc", True)


def test_old_ones_go_but_never_the_best(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    remove_old(tmp_path, 0, None, World())
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5]
    remove_old(tmp_path, 2, path_of(tmp_path, 2), World())
    assert steps_in(tmp_path) == [2, 4, 5]


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / "model.ckpt-6.saving").mkdir()
    remove_cut_off(tmp_path, World())
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.ckpt-3"]


def test_a_position_is_carried_to_another_division() -> None:
    here = Position(step=30, epoch=1, epoch_step=10, table_rows=4000, world=2, batch_size=100)
    same = here.carried_to(Position(table_rows=4000, world=2, batch_size=100), 20)
    assert (same.step, same.epoch, same.epoch_step) == (30, 1, 10)
    # 10 steps of 2 x 100 rows are 20 steps of 100.
    alone = here.carried_to(Position(table_rows=4000, world=1, batch_size=100), 40)
    assert (alone.step, alone.epoch, alone.epoch_step, alone.world) == (30, 1, 20, 1)
    over = here.carried_to(Position(table_rows=1000, world=1, batch_size=100), 10)
    assert (over.epoch, over.epoch_step) == (2, 0)
