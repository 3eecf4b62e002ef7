"""Damaged and crafted checkpoints: nothing of them is used, the line names the file and the next step."""

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.small import Small, command
from tests.training.checkpoints.attacks import Calls, forget_checksums, sign
from tzrec.config import prepare
from tzrec.runtime.errors import UserError
from tzrec.serving.split import load_model
from tzrec.training.checkpoint import DamagedError, find, path_of, read_facts
from tzrec.training.checkpoints.metadata import read_metadata
from tzrec.training.checkpoints.reader import tensors_in


@pytest.fixture
def mine(trained: Small, tmp_path: Path) -> Small:
    """A copy of what was trained, to be damaged; checkpoints of steps 8 and 16."""
    shutil.copytree(trained.root, tmp_path / "mine")
    made = Small(tmp_path / "mine")
    for config in (made.config, made.model / "pipeline.config"):
        config.write_text(config.read_text().replace(str(trained.root), str(made.root)))
    return made


def flip(path: Path, share: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 4
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replaced_by_older(path: Path) -> None:
    shutil.copy(path.parent.with_name("model.ckpt-8") / path.name, path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: os.truncate(path, 0),
    "cut": cut,
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 20),
    "flipped": flip,
    "of another checkpoint": replaced_by_older,
}
FILES = [".metadata", "__1_0.distcp", "state.json"]


def use(small: Small) -> None:
    """As export does."""
    load_model(prepare(str(small.model / "pipeline.config")).message, find(small.model, None))


@pytest.mark.parametrize("kind", sorted(DAMAGE))
@pytest.mark.parametrize("file", FILES)
def test_damage_names_the_file_and_the_older_checkpoint(mine: Small, file: str, kind: str) -> None:
    folder = path_of(mine.model, 16)
    DAMAGE[kind](folder / file)
    with pytest.raises(UserError) as error:
        use(mine)
    line = str(error.value)
    assert line.startswith(f"{folder / file}: ")
    assert f"the next older checkpoint that is whole is {path_of(mine.model, 8)}" in line
    assert f"(mv {folder} {folder}.damaged)" in line
    # The older one may be damaged too.
    flip(path_of(mine.model, 8) / "__0_0.distcp")
    with pytest.raises(UserError, match=r"no older checkpoint in .* is whole: bring the file back"):
        use(mine)


@pytest.mark.parametrize("kind", sorted(set(DAMAGE) - {"flipped", "of another checkpoint"}))
@pytest.mark.parametrize("file", FILES)
def test_damage_of_a_checkpoint_without_checksums(mine: Small, file: str, kind: str) -> None:
    folder = path_of(mine.model, 16)
    for step in (8, 16):
        forget_checksums(path_of(mine.model, step))
    DAMAGE[kind](folder / file)
    with pytest.raises(UserError) as error:
        use(mine)
    line = str(error.value)
    assert line.startswith(f"{folder / file}: ")
    assert f"the next older checkpoint that is whole is {path_of(mine.model, 8)}" in line


def test_a_checkpoint_without_checksums_is_read_and_that_is_said(
    mine: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    use(mine)
    assert capsys.readouterr().out == ""
    forget_checksums(path_of(mine.model, 16))
    use(mine)
    assert "model.ckpt-16; it has no checksums, so damage would not be noticed" in capsys.readouterr().out


def test_tensors_that_run_code_are_refused(mine: Small, tmp_path: Path) -> None:
    """In place of each tensor a file that torch.load would run: in its old format, and as an archive."""
    folder, mark = path_of(mine.model, 16), tmp_path / "mark"
    archive = io.BytesIO()
    torch.save(Calls(os.system, f"touch {mark}"), archive)
    module = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), module)
    whole = (folder / "__1_0.distcp").read_bytes()
    (place,) = (
        place
        for index, place in read_metadata(folder).storage_data.items()
        if index.fqn == "model.user_tower.mlp.0.weight"
    )
    path = folder / place.relative_path
    whole = path.read_bytes()
    plain = pickle.dumps(Calls(os.system, f"touch {mark}"))
    for harm in (plain, archive.getvalue(), module.getvalue()):
        end = place.offset + max(place.length, len(harm))
        path.write_bytes(whole[: place.offset] + harm.ljust(place.length, b"\0") + whole[end:])
        sign(folder)
        with pytest.raises(UserError, match=r"distcp: is damaged: it does not hold model\.\S+ as a tensor"):
            use(mine)
        assert not mark.exists()


def test_objects_that_are_no_tensors_are_refused(mine: Small) -> None:
    """torch.distributed.checkpoint unpickles what `.metadata` calls bytes, whatever it holds."""
    folder = path_of(mine.model, 16)
    path = folder / ".metadata"
    path.write_bytes(path.read_bytes().replace(b"TensorStorageMetadata", b"BytesStorageMetadata\0"))
    name = b"\x8c\x15TensorStorageMetadata"
    whole = (path_of(mine.model, 8) / ".metadata").read_bytes()
    assert name in whole
    path.write_bytes(whole.replace(name, b"\x8c\x14BytesStorageMetadata"))
    sign(folder)
    with pytest.raises(UserError, match=r"\.metadata: is (refused|damaged)"):
        use(mine)


COMMANDS = {
    "tzrec.export": lambda small: ["--export_dir", small.root / "out"],
    "tzrec.eval": lambda small: [],
    "tzrec.train_eval": lambda small: ["--continue_train"],
    "fine-tuning": lambda small: ["--model_dir", small.root / "new", "--fine_tune_checkpoint", small.model],
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_refuse_a_checkpoint_in_one_line(mine: Small, tmp_path: Path, name: str) -> None:
    """A bit flipped in the tensors was used in silence, and a `.metadata` could run code."""
    module = name if name in ("tzrec.export", "tzrec.eval") else "tzrec.train_eval"
    words = ["--pipeline_config_path", mine.model / "pipeline.config", *COMMANDS[name](mine)]
    folder, mark = path_of(mine.model, 16), tmp_path / "mark"
    before = read_facts(folder)
    flip(folder / "__0_0.distcp")
    done = command(module, *words, processes=2 if name == "tzrec.eval" else 1)
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"{module}: error:")]
    assert lines[0].startswith(f"{module}: error: {folder / '__0_0.distcp'}: is damaged"), done.stderr
    assert f"the next older checkpoint that is whole is {path_of(mine.model, 8)}" in lines[0]
    assert len(lines) == 1
    # torchrun, which starts evaluation here, has one of its own.
    assert done.stderr.count("Traceback") <= (name == "tzrec.eval")
    flip(folder / "__0_0.distcp")
    (folder / ".metadata").write_bytes(pickle.dumps(Calls(os.system, f"touch {mark}")))
    sign(folder)
    done = command(module, *words)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert f"{folder / '.metadata'}: is refused: it names posix.system" in line
    assert not mark.exists()
    assert read_facts(folder).metrics == before.metrics
    assert not (mine.root / "out").exists()
    assert not (mine.root / "new").exists()


def test_a_damaged_state_never_begins_at_step_0(mine: Small) -> None:
    """--continue_train on a folder whose newest checkpoint is damaged began anew, without a word."""
    for step in (8, 16):
        (path_of(mine.model, step) / "state.json").unlink()
    done = command("tzrec.train_eval", "--pipeline_config_path", mine.config, "--continue_train")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"{path_of(mine.model, 16)}/state.json: is missing; no older checkpoint" in line
    assert json.dumps(sorted(entry.name for entry in mine.model.glob("model.ckpt-*"))) == (
        '["model.ckpt-16", "model.ckpt-8"]'
    )


def test_a_checkpoint_that_training_removes_meanwhile_is_not_called_damaged(mine: Small) -> None:
    """Evaluation beside a run that keeps one checkpoint: it was to move away what was long gone."""
    chosen = find(mine.model, None)
    shutil.copytree(chosen, path_of(mine.model, 24))
    shutil.rmtree(chosen)
    for read in (read_facts, tensors_in):
        with pytest.raises(DamagedError, match=r"model\.ckpt-16: was removed meanwhile.*keep_checkpoint_max"):
            read(chosen)
