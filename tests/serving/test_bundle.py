"""Exported folders that were damaged, mixed up or made by somebody else: one line that names the file.

Attacks that are repeated here: a bit flipped in every file of an exported folder; files cut, emptied,
overwritten, taken away, replaced by other JSON; fg.json, model_acc.json or the model taken from the
other tower or from another training, in folders with checksums and in such as were exported before
there were any; a configuration that names files outside its folder.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.serving.support import export, open_bundle, with_vocabulary
from tests.small import command, make_small
from tzrec.runtime.errors import UserError
from tzrec.serving.files import ACCELERATION, CHECKSUMS, CONFIG, FEATURES, MODEL
from tzrec.serving.samples import sample

FILES = (MODEL, CONFIG, FEATURES, ACCELERATION)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exports of one configuration, a and b, and one of larger tables, c."""
    root = tmp_path_factory.mktemp("bundles")
    small = with_vocabulary(make_small(root / "small"))
    (root / "note.txt").write_text("an asset", encoding="utf-8")
    export(small.config, root / "a", 1, (root / "note.txt",))
    export(small.config, root / "b", 2)
    text = small.config.read_text(encoding="utf-8")
    small.config.write_text(text.replace("num_buckets: 400", "num_buckets: 500"), encoding="utf-8")
    export(small.config, root / "c", 1)
    return root


def copied(made: Path, tmp_path: Path, tower: str = "item", sealed: bool = True) -> Path:
    folder = tmp_path / tower
    shutil.copytree(made / "a" / tower, folder)
    if not sealed:
        (folder / CHECKSUMS).unlink()
    return folder


def refused(folder: Path, *said: str) -> None:
    with pytest.raises(UserError) as caught:
        open_bundle(folder)
    text = str(caught.value)
    assert "\n" not in text
    for part in (*said, "export"):
        assert part in text, text


def test_a_flipped_bit_in_any_exported_file_is_found(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path)
    assert open_bundle(folder).sealed
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([*FILES, CHECKSUMS, "note.txt", "cate.words.txt"])
    chance = random.Random(5)
    for name in names:
        whole = (folder / name).read_bytes()
        for _ in range(12 if name == MODEL else 40):
            spoilt, place = bytearray(whole), chance.randrange(len(whole))
            spoilt[place] ^= 1 << chance.randrange(8)
            (folder / name).write_bytes(spoilt)
            refused(folder, f"{folder / name}: the file is", "copy the folder again")
        (folder / name).write_bytes(whole)
    open_bundle(folder)


def test_every_single_bit_of_the_checksums_counts(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path)
    whole = (folder / CHECKSUMS).read_bytes()
    for place in range(len(whole)):
        for bit in (0, 3, 5, 7):
            spoilt = bytearray(whole)
            spoilt[place] ^= 1 << bit
            (folder / CHECKSUMS).write_bytes(spoilt)
            refused(folder, CHECKSUMS)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(3000)),
    "a list": lambda path: path.write_bytes(b"[1, 2]"),
    "other JSON": lambda path: path.write_bytes(b'{"features": [7], "outputs": "user_tower_emb"}'),
    "no names": lambda path: path.write_bytes(b'{"features": [{}], "outputs": []}'),
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
    "not UTF-8": lambda path: path.write_bytes(
        b'{"features": [{"feature_name": "\xe9"}], "outputs": ["\xe9"]}'
    ),
}


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_a_damaged_exported_file_is_named(
    made: Path, tmp_path: Path, damage: str, name: str, sealed: bool
) -> None:
    folder = copied(made, tmp_path, sealed=sealed)
    DAMAGE[damage](folder / name)
    refused(folder, str(folder), name)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("name", [FEATURES, ACCELERATION, MODEL])
@pytest.mark.parametrize("tower", ["user", "item"])
def test_a_file_of_the_other_tower_is_found(
    made: Path, tmp_path: Path, tower: str, name: str, sealed: bool
) -> None:
    folder = copied(made, tmp_path, tower, sealed)
    shutil.copy(made / "a" / ("item" if tower == "user" else "user") / name, folder / name)
    refused(folder, str(folder), name)


def test_a_file_of_another_training_is_found(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path)
    shutil.copy(made / "b" / "item" / MODEL, folder / MODEL)
    refused(folder, str(folder / MODEL), "checksum")


@pytest.mark.parametrize("name", [MODEL, CONFIG])
def test_tables_of_another_size_are_found_without_checksums(made: Path, tmp_path: Path, name: str) -> None:
    folder = copied(made, tmp_path, sealed=False)
    shutil.copy(made / "c" / "item" / name, folder / name)
    refused(folder, str(folder / MODEL), "has a table of 400 rows of 8")


def test_no_torchscript_and_another_signature(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path, sealed=False)
    torch.save({"a": torch.ones(3)}, folder / MODEL)
    refused(folder, str(folder / MODEL))
    (folder / MODEL).unlink()
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / MODEL))
    refused(folder, str(folder / MODEL))


def test_a_folder_from_before_there_were_checksums_opens(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path, sealed=False)
    old, new = open_bundle(folder), open_bundle(made / "a" / "item")
    assert (old.sealed, new.sealed) == (False, True)
    rows = sample(new.features, [1, 2])
    torch.testing.assert_close(old.vectors(rows), new.vectors(rows), rtol=0, atol=0)


@pytest.mark.parametrize(
    "given", ["../../secret", "/etc/passwd", "sub/words", "..", ".", "link", "nowhere.txt"]
)
def test_an_exported_folder_reads_its_own_files_only(made: Path, tmp_path: Path, given: str) -> None:
    """Somebody else's configuration names a file of this machine, by a path or by a link."""
    folder = copied(made, tmp_path, sealed=False)
    (tmp_path / "secret").write_text("root\n", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "secret")
    text = (folder / CONFIG).read_text(encoding="utf-8")
    text = text.replace('"cate.words.txt"', f'"{given}" asset_dir: "{tmp_path}"')
    (folder / CONFIG).write_text(text, encoding="utf-8")
    refused(folder, 'feature "cate", vocab_file')


def test_checksums_that_name_files_elsewhere_are_refused(made: Path, tmp_path: Path) -> None:
    from tzrec.serving.seal import write_seal

    folder = copied(made, tmp_path, sealed=False)
    write_seal(folder, {"../secret": "00000000"})
    refused(folder, CHECKSUMS)


def test_predict_says_what_is_damaged(made: Path, tmp_path: Path) -> None:
    """The whole command: one line, status 2, no folder; and the line for a folder without checksums."""
    words = (
        *("--predict_input_path", f"{made}/small/item/*.parquet", "--reserved_columns", "item_id"),
        *("--predict_output_path", tmp_path / "out", "--scripted_model_path", tmp_path / "item"),
    )
    folder = copied(made, tmp_path)
    content = bytearray((folder / MODEL).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / MODEL).write_bytes(content)
    done = command("tzrec.predict", *words)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"tzrec.predict: error: {folder / MODEL}: the file is not what tzrec.export wrote")
    assert not (tmp_path / "out").exists()
    (folder / CHECKSUMS).unlink()
    shutil.copy(made / "a" / "item" / MODEL, folder / MODEL)
    done = command("tzrec.predict", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{folder} has no {CHECKSUMS}: ")
