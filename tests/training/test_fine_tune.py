"""Beginning with the parameters of another run: names that changed, new parameters, mistakes."""

from pathlib import Path

import pytest
import torch

from tests.small import Small, command, make_small
from tzrec.config import prepare
from tzrec.runtime.errors import UserError
from tzrec.serving.split import load_model
from tzrec.training.checkpoint import path_of
from tzrec.training.fine_tune import read_param_map

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
    assert f"beginning with the parameters of {path_of(trained.model, 16)}\n" in done.stdout
    old, found = state(trained, 16), state(new, 1)
    for name, value in found.items():
        torch.testing.assert_close(value, old[name.replace("goods", "items")], rtol=0, atol=0)
    # Without the map the table begins anew, and that is said.
    done = command("tzrec.train_eval", *words, "--model_dir", tmp_path / "anew", processes=2)
    assert done.returncode == 0, done.stderr
    assert f"not there, so begun anew: {prefix}goods.weight\n" in done.stdout
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
