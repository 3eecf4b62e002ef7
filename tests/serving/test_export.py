"""What export refuses before it works, what it writes, and that it says so only of what it has read back.

Attacks that are repeated here: assets named like the files of the folder, twice, by a link, that are
folders, empty or cannot be read; feature names that no identifier can hold, on every kind of feature
and on groups and tables; names with path parts on features whose files are copied; a disk that is
full; a file that changes between writing and reading; a locale of ASCII.
"""

import json
import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tests.serving.support import CPU, export, fresh_model, with_vocabulary
from tests.small import Small, command, make_small
from tzrec import export as verb
from tzrec.config import prepare
from tzrec.datasets.batch import serving_tensors
from tzrec.retrieval.writing import INDEX, MAPPING
from tzrec.runtime.checksum import checksum
from tzrec.runtime.errors import UserError
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.world import World
from tzrec.serving import torchscript
from tzrec.serving.bundle import Bundle, write_bundle
from tzrec.serving.files import LATER, RESERVED, carry, copy_file, find_assets, write_file
from tzrec.serving.readback import read_back
from tzrec.serving.samples import sample
from tzrec.serving.split import split

# Free text as people write it, and what is hostile to generated source, to paths and to formats.
NAMES = [
    *("类目", "naïve", "e\u0301", "😀", "\ufeffq", "\u2028", "пол", "a b", "a.b", ".", "..", "a/b", "../x"),
    *('a"b', "a'b", "a\\b", "a%b", "a%2Eb", "a{b}", "a\tb", "a\nb", "\x7f", "$x", "a,b", "a@b", "x:y", "#"),
    *("1st", "class", "None", "self", "data", "forward", "items", "training", "feature_0", "table_0", "-"),
]


def quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\177").replace("\u2028", "\\342\\200\\250")


def named(small: Small, names: list[str], group: str = "用户 1/2") -> Small:
    """The small configuration with features of these names, of all kinds by turns."""
    (small.root / "words.txt").write_text("1\n2\n", encoding="utf-8")
    kinds = (
        "raw_feature {{ feature_name: {0} {1} embedding_dim: 4 mlp {{}} }}",
        "raw_feature {{ feature_name: {0} {1} embedding_dim: 4 autodis {{ num_channels: 3 }} }}",
        "id_feature {{ feature_name: {0} {1} num_buckets: 9 embedding_dim: 4 embedding_name: {0} }}",
        "id_feature {{ feature_name: {0} {1} embedding_dim: 4 vocab_file: {2} default_bucketize_value: 0 }}",
        "sequence_raw_feature {{ feature_name: {0} {1} sequence_length: 3 embedding_dim: 4 mlp {{}} }}",
    )
    text, blocks, plain, sequences = small.config.read_text(encoding="utf-8"), [], [], []
    for number, name in enumerate(names):
        kind = kinds[number % len(kinds)]
        column = "seen" if kind.startswith("sequence") else "user_id"
        expression = f'expression: "user:{column}"'
        words = quoted(f"{small.root}/words.txt")
        blocks.append(f"feature_configs {{ {kind.format(quoted(name), expression, words)} }}")
        (sequences if kind.startswith("sequence") else plain).append(quoted(name))
    encoders = (
        f"sequence_groups {{ group_name: {quoted(group)} feature_names: [{', '.join(sequences)}] }} "
        f"sequence_encoders {{ pooling_encoder {{ input: {quoted(group)} }} }}"
    )
    text = text.replace("model_config {", "\n".join(blocks) + "\nmodel_config {")
    text = text.replace('["user_id", "age", "seen"]', f'["seen", {", ".join(plain)}] {encoders}')
    text = text.replace('"user" feature_names', f"{quoted(group)} feature_names")
    text = text.replace('input: "user"', f"input: {quoted(group)}")
    small.config.write_text(text, encoding="utf-8")
    return small


def test_any_feature_name_can_be_exported(small: Small, tmp_path: Path) -> None:
    model, pipeline = fresh_model(named(small, NAMES).config)
    for name, tower in split(model).items():
        write_bundle(tmp_path / name, tower, pipeline)
        read_back(tmp_path / name, tower)
        for path in (tmp_path / name).iterdir():
            assert path.name.isascii()
    bundle = Bundle.open(str(tmp_path / "user"), CPU)
    assert {feature.name for feature in bundle.features} == {"seen", *NAMES}
    words = [path for path in (tmp_path / "user").iterdir() if path.name.endswith(".words.txt")]
    assert len(words) == sum(place % 5 == 3 for place in range(len(NAMES)))
    # In plain torch, as it was before: the input is named after the features.
    inputs = serving_tensors(sample(bundle.features, [2, 1]))
    found = torch.jit.load(str(tmp_path / "user" / "scripted_model.pt"))(inputs, CPU)
    torch.testing.assert_close(found, bundle.vectors(sample(bundle.features, [2, 1])))


def test_checkpoints_keep_the_names_of_layers(small: Small) -> None:
    """What an exported layer is called must not change what a checkpoint calls it."""
    model, _ = fresh_model(named(small, ["a.b", "类目", "c", "d", "e"]).config)
    before = list(model.state_dict())
    split(model)
    assert list(model.state_dict()) == before
    assert "embeddings.user.dense.feature_a%2Eb.weight" in before


def test_names_outside_ascii_in_an_ascii_locale(small: Small, tmp_path: Path) -> None:
    """Training, export, predict as commands; values outside the buckets bring names to the terminal."""
    named(small, ["类目", "naïve", "пол", "a b", "序列"])
    text = small.config.read_text(encoding="utf-8").replace("num_steps: 16", "num_steps: 2")
    small.config.write_text(text, encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("tzrec.train_eval", "--pipeline_config_path", small.config, **ascii_only)
    assert done.returncode == 0, done.stderr
    assert 'feature "\\u043f\\u043e\\u043b": ' in done.stdout
    config, out = small.model / "pipeline.config", tmp_path / "export"
    done = command("tzrec.export", "--pipeline_config_path", config, "--export_dir", out, **ascii_only)
    assert done.returncode == 0, done.stderr
    fg = json.loads((out / "user" / "fg.json").read_text(encoding="utf-8"))
    assert [each["feature_name"] for each in fg["features"]] == [
        "seen",
        "类目",
        "naïve",
        "пол",
        "a b",
        "序列",
    ]
    done = command(
        "tzrec.predict",
        *("--scripted_model_path", out / "user", "--predict_input_path", f"{small.root}/eval/*.parquet"),
        *("--predict_output_path", tmp_path / "vectors", "--debug_level", 1),
        **ascii_only,
    )
    assert done.returncode == 0, done.stderr
    assert 'feature "\\u043f\\u043e\\u043b": ' in done.stdout
    assert "类目" in json.loads(pq.read_table(tmp_path / "vectors")["debug_features"][0].as_py())


def test_files_of_features_are_copied_under_names_of_their_own(small: Small, tmp_path: Path) -> None:
    """Features with path parts in their names, and such whose files would have one name."""
    names = ["a/../../b", "/etc/x", "..", "fg", "a", "a.b", "x" * 300]
    blocks = []
    for place, name in enumerate(names):
        folder = tmp_path / f"of {place}"
        folder.mkdir()
        # a + b.words and a.b + words; fg + json.
        path = folder / {"fg": "json", "a": "b.words", "a.b": "words"}.get(name, "words")
        path.write_text(f"word{place}\n", encoding="utf-8")
        blocks.append(
            f'feature_configs {{ id_feature {{ feature_name: "{name}" expression: "user:age" '
            f'embedding_dim: 4 vocab_file: "{path.name}" asset_dir: "{folder}" '
            "default_bucketize_value: 0 } }"
        )
    text = small.config.read_text(encoding="utf-8")
    text = text.replace("model_config {", "\n".join(blocks) + "\nmodel_config {")
    listed = ", ".join(f'"{name}"' for name in names)
    text = text.replace('["user_id", "age", "seen"]', f'["user_id", "age", "seen", {listed}]')
    small.config.write_text(text, encoding="utf-8")
    carried, files = carry(prepare(str(small.config)).message)
    assert len(files) == len(names)
    assert not set(files) & set(RESERVED)
    assert all(len(name) < 250 and "/" not in name and not name.startswith(".") for name in files)
    export(small.config, tmp_path / "export")
    bundle = Bundle.open(str(tmp_path / "export" / "user"), CPU)
    for config in carried.feature_configs:
        one = config.id_feature
        if one.vocab_file:
            copy = tmp_path / "export" / "user" / one.vocab_file
            expected = f"word{names.index(one.feature_name)}\n"
            assert copy.read_text(encoding="utf-8") == expected
    assert len(bundle.features) == len(names) + 3
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == []


ASSETS = {
    "the model": ("d/scripted_model.pt", 'has a file "scripted_model.pt" of its own'),
    "fg.json": ("d/fg.json", 'has a file "fg.json" of its own'),
    "the configuration": ("d/pipeline.config", "of its own; rename yours"),
    "model_acc.json": ("d/model_acc.json", "of its own"),
    "the checksums": ("d/checksums.json", "of its own"),
    "an index that is made later": ("d/faiss_index", "of its own"),
    "ids that are made later": ("d/id_mapping", "of its own"),
    "a vocabulary that is carried": ("d/cate.words.txt", "of its own"),
    "one name twice": ("a.txt,d/a.txt", 'are both named "a.txt"'),
    "one file twice": ("a.txt,./a.txt", "are one file; give it once"),
    "one file by a link": ("a.txt,link", "are one file; give it once"),
    "no name between commas": ("a.txt,,b.txt", "an empty name between its commas"),
    "no name at the end": ("a.txt,", "an empty name between its commas"),
    "a folder": ("d", "d is a folder; give the files in it"),
    "nothing": ("nowhere", "nowhere is no file"),
    "a link to nothing": ("dangling", "dangling is no file"),
    "a device": ("/dev/null", "/dev/null is no file"),
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with assets, and a configuration beside them."""
    root = tmp_path_factory.mktemp("things")
    with_vocabulary(make_small(root / "small", rows=10))
    (root / "d").mkdir()
    for name in (*RESERVED, "cate.words.txt", "a.txt"):
        (root / "d" / name).write_text("x", encoding="utf-8")
    for name in ("a.txt", "b.txt"):
        (root / name).write_text(name, encoding="utf-8")
    (root / "link").symlink_to("a.txt")
    (root / "dangling").symlink_to("none")
    return root


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_assets_that_would_replace_a_file_are_refused(
    things: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = ASSETS[name]
    monkeypatch.chdir(things)
    words = ["--pipeline_config_path", str(things / "small" / "pipeline.config")]
    with pytest.raises(UserError) as caught:
        verb.main([*words, "--export_dir", str(things / "out"), "--asset_files", text])
    assert str(caught.value).startswith("--asset_files: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(things.glob("out*"))


def test_assets_that_are_taken(things: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(things)
    pipeline = prepare(str(things / "small" / "pipeline.config")).message
    assert find_assets(None, pipeline) == find_assets("", pipeline) == []
    assert find_assets(" a.txt , b.txt", pipeline) == [Path("a.txt"), Path("b.txt")]
    assert set(LATER) == {INDEX, MAPPING}


def test_an_asset_is_refused_before_torch_is_loaded(things: Path) -> None:
    done = command(
        "tzrec.export",
        *("--pipeline_config_path", things / "small" / "pipeline.config", "--export_dir", things / "out"),
        *("--asset_files", things / "d" / "scripted_model.pt"),
        PYTHONPROFILEIMPORTTIME="1",
    )
    assert done.returncode == 2
    assert not re.search(r"\| +torch$", done.stderr, re.M)
    assert re.search(r"\| +tzrec\.serving\.files$", done.stderr, re.M)
    assert not list(things.glob("out*"))


def staged(tmp_path: Path) -> StagedFolder:
    return StagedFolder(str(tmp_path / "out" / "export"), "--export_dir", World())


def test_a_full_disk_is_one_line_and_leaves_nothing(trained: Small, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: torch's own writer ends the process there."""
    out = tmp_path / "out"
    out.mkdir()
    words = ["--pipeline_config_path", trained.model / "pipeline.config", "--export_dir", out / "export"]
    limited = tmp_path / "limited.py"
    limited.write_text(
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from tzrec.export import main\nfrom tzrec.runtime.command import run\nrun('tzrec.export', main)\n",
        encoding="utf-8",
    )
    done = command("limited", *words, PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '.')}")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"--export_dir: {out / 'export'}: cannot be written (File too large); raise the limit" in line
    assert list(out.iterdir()) == []


def test_every_write_that_fails_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3000)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name, write in (
        ("a", lambda path: write_file(path, b"x")),
        ("b", lambda path: copy_file(source, path)),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            write(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)
    with pytest.raises(OSError, match="No such file") as caught:
        copy_file(tmp_path / "none", tmp_path / "c")
    assert caught.value.filename == str(tmp_path / "none")
    with pytest.raises(FileExistsError):
        write_file(source, b"")


def test_a_model_is_written_as_torch_writes_it(tmp_path: Path) -> None:
    model = torch.jit.script(torch.nn.Linear(300, 300))
    crc = torchscript.save(model, tmp_path / "a.pt")
    assert crc == checksum(tmp_path / "a.pt")
    found = torch.jit.load(str(tmp_path / "a.pt"))
    torch.testing.assert_close(found.weight, model.weight, rtol=0, atol=0)


def test_the_process_that_writes_is_told_of_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.jit.script(torch.nn.Linear(3, 3))
    monkeypatch.setattr(torchscript, "_COPIER", "import os\nwhile os.read(0, 4096): pass\nos._exit(7)")
    with pytest.raises(RuntimeError, match=r"ended \(7\)"):
        torchscript.save(model, tmp_path / "a.pt")


@pytest.mark.parametrize("what", ["changed on the disk", "other numbers"])
def test_export_says_done_only_of_what_it_has_read_back(
    trained: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, capsys: pytest.CaptureFixture
) -> None:
    def spoilt(model: torch.jit.ScriptModule, path: Path) -> str:
        weight = model.tower.output.weight.data
        whole = weight.clone()
        if what == "other numbers":
            weight[0, 0] += 1e-4
        crc = torchscript.save(model, path)
        weight.copy_(whole)  # The model that it is held against has the same memory.
        if what == "changed on the disk":
            content = bytearray(path.read_bytes())
            content[1000] ^= 1
            path.write_bytes(content)
        return crc

    monkeypatch.setattr("tzrec.serving.bundle.save", spoilt)
    pipeline = prepare(str(trained.model / "pipeline.config")).message
    error = UserError if what == "changed on the disk" else RuntimeError
    said = r"scripted_model.pt(: the file is not what|, read back, gives other)"
    with staged(tmp_path) as folder, pytest.raises(error, match=said):
        verb.export(pipeline, None, [], folder)
    assert "exported" not in capsys.readouterr().out
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert not (tmp_path / "out" / "export").exists()
