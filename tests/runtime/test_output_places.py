"""Paths of outputs are checked before the work: every one that could not be written at its end."""

from pathlib import Path

import pytest

from tzrec.runtime.errors import UserError
from tzrec.runtime.output import StagedFile, StagedFolder
from tzrec.runtime.places import local_folder, new_file, new_folder, refuse_overlap
from tzrec.runtime.world import World

BAD = {
    "": "the path is empty",
    "  ": "the path is empty",
    "/": "root of the file system",
    "//": "root of the file system",
    "TMP/../../../../../../..": "root of the file system",
    "s3://bucket/out": "is a URL",
    "TMP/" + "n" * 300: "is too long",
    "TMP/" + "ü" * 200 + "/out": "is too long",
    "TMP/" + "n/" * 3000: "is too long",
    "TMP/file/out": "on the way to .* is a file",
    "TMP/file/deep/out": "on the way to .* is a file",
    "TMP/nowhere/out": "is a link that leads nowhere",
}
FOLDERS = {"TMP/file": "is a file", "TMP/nowhere": "is a link that leads nowhere"}
FILES = {
    "TMP/file": "is there already",
    "TMP/nowhere": "is there already",
    "TMP": "is a folder",
    "TMP/x/": "is a folder",
}
CHECKS = [
    *((check, path, said) for check in (local_folder, new_folder, new_file) for path, said in BAD.items()),
    *((check, path, said) for check in (local_folder, new_folder) for path, said in FOLDERS.items()),
    *((new_file, path, said) for path, said in FILES.items()),
    (new_folder, "TMP", "already holds something"),
]


@pytest.mark.parametrize(("check", "path", "said"), CHECKS)
def test_a_path_that_cannot_be_an_output_is_refused(tmp_path: Path, check, path: str, said: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=f"--out: .*{said}") as error:
        check(path.replace("TMP", str(tmp_path)), "--out")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "nowhere"]


def test_a_folder_that_cannot_be_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for check in (local_folder, new_folder, new_file):
        with pytest.raises(UserError, match=f"--out: {tmp_path} cannot be written into"):
            check(str(tmp_path / "deep" / "out"), "--out")


def test_outputs_within_one_another_are_refused(tmp_path: Path) -> None:
    """--report inside the folder of the details."""
    (tmp_path / "link").symlink_to(tmp_path)
    details = StagedFolder(str(tmp_path / "details"), "--details", World())
    for path in ("details/a.html", "details/deep/a.html", "details", "link/details/a.html"):
        page = StagedFile(str(tmp_path / path), "--report", World())
        with pytest.raises(UserError, match=r"--report: .* is or lies within .*details of --details"):
            refuse_overlap([details, page])
    refuse_overlap([details, StagedFile(str(tmp_path / "details.html"), "--report", World())])
