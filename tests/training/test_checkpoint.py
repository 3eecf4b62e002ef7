"""Which checkpoint is meant, which ones stay, and where a run goes on."""

from pathlib import Path

import pytest

from tzrec.datasets.division import Leg
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World
from tzrec.training.checkpoint import (
    Data,
    Facts,
    Position,
    best,
    find,
    path_of,
    read_facts,
    remove_cut_off,
    remove_old,
    steps_in,
    write_facts,
)


def save(model_dir: Path, step: int, **metrics: float) -> None:
    path_of(model_dir, step).mkdir(parents=True)
    write_facts(path_of(model_dir, step), Facts(Position(step=step), metrics=metrics))


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


def test_measures_from_before_evaluation_had_negatives_of_its_own_do_not_win(tmp_path: Path) -> None:
    save(tmp_path, 1, mrr=0.9)
    assert best(tmp_path, "mrr", True) == path_of(tmp_path, 1)
    for step, value in ((2, 0.3), (3, 0.2)):
        path_of(tmp_path, step).mkdir()
        facts = Facts(Position(step=step), metrics={"mrr": value}, files={".metadata": "00000000"})
        write_facts(path_of(tmp_path, step), facts)
    assert best(tmp_path, "mrr", True) == path_of(tmp_path, 2)


def test_old_ones_go_but_never_the_best(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    remove_old(tmp_path, 0, None)
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5]
    remove_old(tmp_path, 2, path_of(tmp_path, 2))
    assert steps_in(tmp_path) == [2, 4, 5]


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    save(tmp_path, 3)
    for name in ("model.ckpt-6.saving", "model.ckpt-1.removing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    assert steps_in(tmp_path) == [3]
    remove_cut_off(tmp_path, World())
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.ckpt-3"]


def test_what_stands_beside_the_tensors_is_read_as_it_was_written(tmp_path: Path) -> None:
    leg = Leg(ranks=2, batch_size=100, buffer_rows=50, drop_remainder=True, steps=7)
    facts = Facts(Position(30, 1, 7), Data("abc", 4000, (leg,)), {"t": {"ranks": [0]}}, {"mrr": 0.5})
    write_facts(tmp_path, facts)
    assert read_facts(tmp_path) == facts
    (tmp_path / "state.json").write_text('{"position": {"step": 3}}')
    with pytest.raises(UserError, match=r"state\.json: was not written by this version"):
        read_facts(tmp_path)
