"""Outputs are whole or absent, have one writer at a time, and dead writers leave nothing for long."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tzrec.runtime.claim import only_writer
from tzrec.runtime.errors import UserError
from tzrec.runtime.files_together import OLD, TARGET, replace_together
from tzrec.runtime.output import StagedFile, StagedFiles, StagedFolder, finish_together
from tzrec.runtime.world import World


def folder_at(path: object) -> StagedFolder:
    return StagedFolder(str(path), "--out", World())


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _write_for_ever(path: str, ready) -> None:
    with folder_at(path) as folder:
        (folder.path / "part").write_text("x")
        ready.set()
        time.sleep(60)


@pytest.fixture
def writer(tmp_path: Path):
    """Another process that writes `tmp_path/out`."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_write_for_ever, args=(str(tmp_path / "out"), ready), daemon=True)
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_a_folder_shows_nothing_before_the_end(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "out"
    with folder_at(f"{final}/") as folder:
        (folder.path / "a").write_text("x")
        assert not final.exists()
        folder.finish()
    assert names(final.parent) == ["out"]
    assert (final / "a").read_text() == "x"


@pytest.mark.parametrize("inside", [True, False])
def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    """The current folder, like a mounted volume, cannot be replaced by a rename."""
    final = tmp_path / "out"
    final.mkdir()
    if inside:
        monkeypatch.chdir(final)
    with folder_at("." if inside else final) as folder:
        assert folder.path.is_relative_to(final) == inside
        (folder.path / "a").write_text("x")
        folder.finish()
    assert names(tmp_path) == ["out"]
    assert names(final) == ["a"]


@pytest.mark.parametrize("there", [True, False])
def test_a_failure_leaves_nothing(tmp_path: Path, there: bool) -> None:
    final = tmp_path / "deep" / "out"
    if there:
        final.mkdir(parents=True)

    def fail() -> None:
        with folder_at(final) as folder:
            (folder.path / "a").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sorted(tmp_path.rglob("*")) == ([final.parent, final] if there else [])


def test_a_second_writer_is_refused_and_learns_who_the_first_is(tmp_path: Path, writer) -> None:
    """Two predicts into one output, as a scheduler's retry starts them: the second ends at once."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=rf"--out: .*out is being written by process {writer.pid} on .*since"):
        folder_at(tmp_path / "out").begin()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("next_output", ["out", "other"])
def test_what_a_killed_writer_left_is_removed_by_the_next_one(
    tmp_path: Path, writer, next_output: str
) -> None:
    with folder_at(tmp_path / "other") as folder:
        folder.finish()
    assert len(names(tmp_path)) == 3, "what a living writer has is left alone"
    (tmp_path / "other").rmdir()
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    with folder_at(tmp_path / next_output) as folder:
        folder.finish()
    assert names(tmp_path) == [next_output]


def test_a_refused_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """A kill between the rename and the release of the lock leaves the lock beside the whole output."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part").touch()
    (tmp_path / ".out.tzrec-lock").touch()
    with pytest.raises(UserError, match="already holds something"):
        folder_at(tmp_path / "out")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("first", ["path", "current folder"])
def test_a_current_folder_has_one_writer(
    tmp_path: Path, writer, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Two predicts, one from inside of the empty output with `.`: the second worked to its end."""
    (tmp_path / "out").mkdir(exist_ok=True)
    if first == "path":
        monkeypatch.chdir(tmp_path / "out")
        with pytest.raises(UserError, match=rf"is being written by process {writer.pid} on"):
            folder_at(".").begin()
        return
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    monkeypatch.chdir(tmp_path / "out")
    with folder_at(".") as folder:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=rf"is being written by process {os.getpid()} on"):
            folder_at("out").begin()
        folder.finish()


@pytest.mark.parametrize("unfinished", [".out.unfinished-12345678", ".total.unfinished-12345678"])
def test_what_was_left_in_an_empty_output_does_not_keep_it_from_its_name(
    tmp_path: Path, unfinished: str
) -> None:
    """Killed writers of the current folder, or of an output within: each next one failed at its end."""
    (tmp_path / "out" / unfinished).mkdir(parents=True)
    name = unfinished.split(".")[1]
    folder = tmp_path if name == "out" else tmp_path / "out"
    (folder / f".{name}.tzrec-lock").touch()
    with folder_at(tmp_path / "out") as output:
        (output.path / "a").touch()
        output.finish()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["a"]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    others = [".out.unfinished", "out.unfinished-12345678", ".unfinished-12345678", ".out.lock"]
    for name in others:
        (tmp_path / name).touch()
    with folder_at(tmp_path / "out") as folder:
        folder.finish()
    assert names(tmp_path) == sorted([*others, "out"])


def test_a_folder_that_was_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    """Where locks do not work, or another program writes there."""

    def run() -> None:
        with folder_at(tmp_path / "out") as folder:
            (folder.path / "a").write_text("late")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "a").write_text("first")
            folder.finish()

    with pytest.raises(UserError, match="was filled by something else meanwhile"):
        run()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "first"


def test_outputs_of_one_job_get_their_names_together(tmp_path: Path) -> None:
    def run() -> None:
        page = StagedFile(str(tmp_path / "page"), "--page", World())
        with folder_at(tmp_path / "out") as folder, page:
            page.path.write_text("x")
            page.sync = lambda: os.close(-1)  # type: ignore[method-assign]
            finish_together([folder, page])

    with pytest.raises(OSError, match="Bad file descriptor"):
        run()
    assert names(tmp_path) == []


def test_the_name_may_be_as_long_as_names_may_be(tmp_path: Path) -> None:
    final = tmp_path / ("ü" * 127)
    with folder_at(final) as folder:
        folder.finish()
    assert names(tmp_path) == [final.name]


def test_files_are_replaced_together(tmp_path: Path) -> None:
    final, written = tmp_path / "final", tmp_path / ".final.unfinished-12345678"
    final.mkdir()
    (final / "b").write_text("old")
    (final / "mine").write_text("mine")

    def write() -> None:
        written.mkdir()
        for name in "ab":
            (written / name).write_text("new")

    write()
    (final / "b").unlink()
    (final / "b").mkdir()
    with pytest.raises(OSError, match="b"):
        replace_together(written, final)
    assert names(final) == ["b", "mine"]
    (final / "b").rmdir()
    (final / "b").write_text("old")
    for path in written.iterdir():
        path.unlink()
    written.rmdir()
    write()
    replace_together(written, final)
    assert {path.name: path.read_text() for path in final.iterdir()} == {
        "a": "new",
        "b": "new",
        "mine": "mine",
    }
    assert names(tmp_path) == ["final"]


def test_a_kill_between_two_renames_is_put_back(tmp_path: Path) -> None:
    """The old index beside the new ids would serve wrong items."""
    final, left = tmp_path / "user", tmp_path / ".user.unfinished-12345678"
    final.mkdir()
    left.mkdir()
    (final / "faiss_index").write_text("new")
    (final / "id_mapping").write_text("old ids")
    (left / ("faiss_index" + OLD)).write_text("old index")
    (left / ("id_mapping" + OLD)).write_text("old ids")
    (left / "id_mapping").write_text("new ids")
    (left / TARGET).write_text(f"{final}\0faiss_index\0id_mapping")
    folder_at(tmp_path / "another")
    assert {path.name: path.read_text() for path in final.iterdir()} == {
        "faiss_index": "old index",
        "id_mapping": "old ids",
    }
    assert names(tmp_path) == ["user"]


def test_what_is_left_cannot_choose_another_folder(tmp_path: Path) -> None:
    """Somebody who may write beside an output must not have files of its user removed elsewhere."""
    victim, left = tmp_path / "home", tmp_path / "shared" / ".out.unfinished-12345678"
    victim.mkdir()
    left.mkdir(parents=True)
    (victim / "a").write_text("mine")
    for words in ([str(victim), "a", "b"], [str(tmp_path / "shared"), "../home/a", "b"]):
        left.mkdir(exist_ok=True)
        (left / "b").touch()
        (left / TARGET).write_text("\0".join(words))
        folder_at(tmp_path / "shared" / "out")
        assert not left.exists()
        assert (victim / "a").read_text() == "mine"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".out.tzrec-lock").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=r"--out: .* cannot be written"):
        folder_at(tmp_path / "out").begin()
    assert (tmp_path / "mine").read_text() == "mine"


def test_files_go_into_a_folder_that_holds_others(tmp_path: Path) -> None:
    final = tmp_path / "export" / "user"
    final.mkdir(parents=True)
    (final / "model").touch()
    with StagedFiles(str(final), "--index", World()) as folder:
        assert folder.path.parent == final.parent, "a server reads the folder"
        (folder.path / "index").write_text("x")
        folder.finish()
    assert names(final) == ["index", "model"]
    assert names(final.parent) == ["user"]


def test_a_lock_names_the_command(tmp_path: Path) -> None:
    with folder_at(tmp_path / "out"):
        held = json.loads((tmp_path / ".out.tzrec-lock").read_text())
    assert held["pid"] == os.getpid()


def test_a_folder_that_is_written_in_place_has_one_writer(tmp_path: Path, writer) -> None:
    """Two tutorials in one folder: the second emptied that of the first."""
    with (
        pytest.raises(UserError, match=rf"--out: .*out is being written by process {writer.pid}"),
        only_writer(str(tmp_path / "out"), "--out"),
    ):
        pass
    with only_writer(str(tmp_path / "deep" / "work"), "--work_dir") as folder:
        assert folder.is_dir()
    assert names(tmp_path / "deep") == ["work"]
