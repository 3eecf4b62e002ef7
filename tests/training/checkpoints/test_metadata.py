"""An untrusted `.metadata`: a crafted one ran os.system in export and in evaluation."""

import pickle
from pathlib import Path

import pytest
import torch.distributed.checkpoint as dcp

from tests.small import Small
from tests.training.checkpoints.attacks import payloads
from tzrec.training.checkpoint import path_of
from tzrec.training.checkpoints.facts import UnreadableError
from tzrec.training.checkpoints.metadata import read_metadata

NAMES = sorted(payloads(Path("mark")))
# Those that make the file when pickle reads them; others only begin to.
LIVE = {"os.system", "exec", "collections", "chain of getattr", "dotted name", "old instruction"}


@pytest.mark.parametrize("name", NAMES)
def test_a_metadata_that_runs_code_is_refused(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    (tmp_path / ".metadata").write_bytes(payloads(mark)[name])
    with pytest.raises(UnreadableError) as refused:
        read_metadata(tmp_path)
    assert "which no checkpoint holds and which may run code" in refused.value.what
    assert not mark.exists()


@pytest.mark.parametrize("name", sorted(set(NAMES) & LIVE))
def test_the_attacks_are_ones(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    pickle.loads(payloads(mark)[name])
    assert mark.exists()


def test_what_is_read_is_what_torch_reads(trained: Small) -> None:
    folder = path_of(trained.model, 16)
    found, expected = read_metadata(folder), dcp.FileSystemReader(folder).read_metadata()
    assert found.state_dict_metadata == expected.state_dict_metadata
    assert found.storage_data == expected.storage_data


def test_damage_and_places_outside_the_folder(trained: Small, tmp_path: Path) -> None:
    """Cut after every hundred bytes, empty, garbage; a file of tensors that lies elsewhere."""
    whole = (path_of(trained.model, 16) / ".metadata").read_bytes()
    cuts = [whole[:size] for size in range(0, len(whole), 100)]
    away = whole.replace(b"__0_0.distcp", b"../../passwd")
    for content in (*cuts, b"\x00" * 50, b"{}", pickle.dumps({"a": 1}), away):
        with pytest.raises(UnreadableError, match=r"is empty|is damaged"):
            read_metadata(tmp_path, content)
    for file in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UnreadableError, match="is missing"):
            read_metadata(file)
    (tmp_path / ".metadata").mkdir()
    with pytest.raises(UnreadableError, match="is a folder"):
        read_metadata(tmp_path)
