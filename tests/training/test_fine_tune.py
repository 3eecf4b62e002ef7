"""Beginning with the parameters of another run: names that changed, new parameters, mistakes."""

from pathlib import Path

import pytest
import torch

from tests.small import Small, command, make_small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.serving.split import load_model
from tzrec.training.build import Session
from tzrec.training.checkpoint import Facts, Position, path_of
from tzrec.training.checkpoints.reader import load, tensors_in
from tzrec.training.fine_tune import begin_from, read_param_map
from tzrec.training.saving import Saver
from tzrec.training.state import state_of
from tzrec.training.step import Stepper

MAP = "train_config.fine_tune_ckpt_param_map"


def state(small: Small, step: int) -> dict[str, torch.Tensor]:
    return load_model(
        prepare(str(small.model / "pipeline.config")).message, path_of(small.model, step)
    ).state_dict()


def test_a_map_of_names(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text("# new\told\n\na.weight\tb.weight\nc.weight\tb.weight\n")
    assert read_param_map(str(path)) == {"a.weight": "b.weight", "c.weight": "b.weight"}
    for text, message in (
        ("a b\n", r'map\.txt:1: "a b" is not "new name<tab>name'),
        ("a\tb\na\tc\n", r"map\.txt:2: a stands on an earlier line"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_param_map(str(path))
    with pytest.raises(UserError, match="cannot be read"):
        read_param_map(str(tmp_path / "nothing"))


def test_parameters_come_along_under_other_names(trained: Small, tmp_path: Path) -> None:
    """A table has a new name, and the rates are 0: what the run saves is what it began with."""
    new = make_small(tmp_path / "new")
    text = new.config.read_text().replace('embedding_name: "items"', 'embedding_name: "goods"')
    text = text.replace("lr: 0.05", "lr: 0.0").replace("lr: 0.003", "lr: 0.0")
    new.config.write_text(text.replace("num_steps: 16", "num_steps: 1"))
    names = tmp_path / "map.txt"
    prefix = "embeddings.tables.item.embedding_bags.table_"
    names.write_text(f"{prefix}goods.weight\t{prefix}items.weight\n")
    words = ["--pipeline_config_path", new.config, "--fine_tune_checkpoint", trained.model]
    done = command("tzrec.train_eval", *words, "--edit_config_json", f'{{"{MAP}": "{names}"}}')
    assert done.returncode == 0, done.stderr
    begun = f"beginning with the parameters of {path_of(trained.model, 16)} and the state of its optimizers"
    assert f"{begun} (27 of 27 tensors)\n" in done.stdout
    old, found = state(trained, 16), state(new, 1)
    for name, value in found.items():
        torch.testing.assert_close(value, old[name.replace("goods", "items")], rtol=0, atol=0)
    # Without the map the table begins anew, and that is said.
    done = command("tzrec.train_eval", *words, "--model_dir", tmp_path / "anew", processes=2)
    assert done.returncode == 0, done.stderr
    assert f"{begun} (26 of 27 tensors); not there, so begun anew: {prefix}goods.weight\n" in done.stdout
    # A name that is not there, and a shape that is another.
    names.write_text(f"{prefix}goods.weight\t{prefix}itemz.weight\n")
    done = command(
        *("tzrec.train_eval", *words, "--model_dir", tmp_path / "no"),
        *("--edit_config_json", f'{{"{MAP}": "{names}"}}'),
    )
    assert done.returncode == 2
    assert f'has no parameter {prefix}itemz.weight; did you mean "{prefix}items.weight"?' in done.stderr
    new.config.write_text(text.replace("hidden_units: [16]", "hidden_units: [24]"))
    done = command("tzrec.train_eval", *words, "--model_dir", tmp_path / "no")
    assert done.returncode == 2
    assert "to begin it anew, give its table or tower another name" in done.stderr
    assert not (tmp_path / "no").exists()


# Of the tables and of the dense layers; the tables have no Adam on the CPU.
OPTIMIZERS = {
    "sgd": ("sgd_optimizer { lr: 0.1 }", "sgd_optimizer { lr: 0.1 }"),
    "adagrad": ("adagrad_optimizer { lr: 0.1 }", "adagrad_optimizer { lr: 0.1 }"),
    "adam": ("rowwise_adagrad_optimizer { lr: 0.1 }", "adam_optimizer { lr: 0.01 }"),
}


def begin(small: Small) -> Session:
    return Session.begin(prepare(str(small.config)).message, World())


def take_steps(session: Session, small: Small) -> None:
    data = prepare(str(small.config)).message.data_config
    loader = build_loader(data, session.towers.layout, World(), f"{small.root}/train/*.parquet")
    stepper = Stepper(session.model, session.optimizers, session.objective)
    for step, batch in enumerate(loader.batches(stop=2)):
        stepper([batch], step, 0)


def optimizer_state(session: Session, folder: Path, step: int) -> dict[str, torch.Tensor]:
    """What a checkpoint of it holds; the renamed table has its old name."""
    saver = Saver(folder, World())
    saver.begin(state_of(session.model, session.optimizers), Facts(Position(step)))
    saver.finish()
    held = {
        name: torch.empty(what.size)
        for name, what in tensors_in(path_of(folder, step)).items()
        if name.startswith("optimizer.")
    }
    load(path_of(folder, step), held, alone=True)
    return {name.replace("goods", "items"): value for name, value in held.items()}


@pytest.mark.parametrize("names", ["same", "mapped"])
@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_fine_tuning_restores_the_state_of_the_optimizers(tmp_path: Path, kind: str, names: str) -> None:
    """No state came along: loading the model renamed the keys by which it was looked for."""
    small, out = make_small(tmp_path / "small", rows=400), tmp_path / "out"
    text = small.config.read_text()
    sparse, dense = OPTIMIZERS[kind]
    text = text.replace("adagrad_optimizer { lr: 0.05 }", sparse)
    text = text.replace("adam_optimizer { lr: 0.003 }", dense)
    small.config.write_text(text)
    renamed = {}
    try:
        old = begin(small)
        take_steps(old, small)
        expected = optimizer_state(old, out, 1)
        if names == "mapped":
            small.config.write_text(text.replace('embedding_name: "items"', 'embedding_name: "goods"'))
            prefix = "embeddings.tables.item.embedding_bags.table_"
            renamed = {f"{prefix}goods.weight": f"{prefix}items.weight"}
        new = begin(small)
        before = optimizer_state(new, out, 2)
        # --ignore_restore_optimizer
        note = begin_from(path_of(out, 1), new.model, None, renamed)
        assert note == ", not with the state of its optimizers"
        without = optimizer_state(new, out, 3)
        note = begin_from(path_of(out, 1), new.model, new.optimizers, renamed)
        found = optimizer_state(new, out, 4)
    finally:
        leave_group()
    assert sorted(found) == sorted(expected) == sorted(before)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)
        torch.testing.assert_close(without[name], before[name], rtol=0, atol=0, msg=name)
        assert not torch.equal(value, before[name])
    count = len(expected)
    assert note == f" and the state of its optimizers ({count} of {count} tensors)"
