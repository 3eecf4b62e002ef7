"""Whatever library reports it, a refused write is one line that names flag, path and the next step."""

import errno
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.retrieval.index import save
from tzrec.runtime.errors import UserError
from tzrec.runtime.storage import refusal, writing


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 8 KiB: the nearest to a full disk that needs no rights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def write_arrow(path: Path) -> None:
    table = pa.table({"a": np.random.default_rng(0).random(100_000)})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def write_index(path: Path, items: int) -> None:
    index = faiss.IndexFlatIP(16)
    index.add(np.zeros((items, 16), np.float32))
    save(index, str(path))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * 100_000),
    "parquet": lambda path: pq.write_table(pa.table({"a": np.random.default_rng(0).random(100_000)}), path),
    "arrow": write_arrow,
    "faiss": lambda path: write_index(path, 3000),
    # So small that all of it waits in a buffer until the file is closed.
    "faiss, last bytes": lambda path: write_index(path, 130),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.usefixtures("small_files")
def test_a_refused_write_is_one_line(tmp_path: Path, write: Callable[[Path], object]) -> None:
    with (
        pytest.raises(UserError, match=r"^--out: out: cannot be written \(File too large\); raise the limit"),
        writing("--out: out", tmp_path),
    ):
        write(tmp_path / "file")


def test_what_libraries_say_in_words_only() -> None:
    assert refusal(RuntimeError("write error in x: 1 != 2 (No space left on device)")) == errno.ENOSPC
    assert refusal(pa.ArrowInvalid("x. Detail: [errno 122] Disk quota exceeded")) == errno.EDQUOT
    assert refusal(OSError("x. Detail: [errno 30] Read-only file system")) == errno.EROFS
    assert refusal(RuntimeError("something else (really)")) is None
    assert refusal(FileNotFoundError(errno.ENOENT, "gone")) is None


def test_what_is_read_beside_it_is_not_said_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), writing("--out: out", tmp_path / "out"):
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "in"))
