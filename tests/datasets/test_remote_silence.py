"""Servers that accept and keep silent, refuse, answer garbage, or fall silent while a file is read.

The attacks: an s3, http, ftp or zip URL, also as a glob, of such a server; a password in it.
"""

import gc
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.datasets.files import expand
from tzrec.datasets.parquet import ParquetTable
from tzrec.runtime.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

URLS = [
    "s3://bucket/a.parquet",
    "s3://bucket/*.parquet",
    "s3://name:secret@bucket/a.parquet",
    "http://name:secret@127.0.0.1:{port}/a.parquet?signature=secret",
    "http://name:secret@127.0.0.1:{port}/*.parquet",
    "ftp://name:secret@127.0.0.1:{port}/a.parquet",
    "zip://a.parquet::http://name:secret@127.0.0.1:{port}/a.zip",
    "zip://*.parquet::http://127.0.0.1:{port}/a.zip?signature=secret",
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What the libraries leave open is their own, and is found here and not at the end of all tests."""
    yield
    gc.collect()


@contextmanager
def serve(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that gives each connection to `answer` in a thread, until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def talk(connection: socket.socket) -> None:
        with suppress(OSError):
            answer(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=talk, args=(connection,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listening.getsockname()[1]
    finally:
        # Closing alone does not wake who waits for a connection or for its bytes.
        for one in (listening, *connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in (accepting, *threads):
            thread.join(10)
        for one in (listening, *connections):
            one.close()


def keep_silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def answer_garbage(connection: socket.socket) -> None:
    with connection:
        connection.sendall(b"\x00\xff no protocol\r\n\r\n")


@pytest.fixture(params=["silent", "garbage", "refusing"])
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("TZREC_PATIENCE", "0.6")
    with ExitStack() as stack:
        number = stack.enter_context(serve(keep_silent if request.param == "silent" else answer_garbage))
        if request.param == "refusing":
            stack.close()
        endpoint = {"endpoint_url": f"http://127.0.0.1:{number}", "key": "k", "secret": "s"}
        monkeypatch.setitem(fsspec.config.conf, "s3", endpoint)
        yield number


@pytest.mark.parametrize("url", URLS)
def test_a_server_without_a_good_answer_is_one_line_in_time(port: int, url: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        ParquetTable(url.format(port=port), flag="train_input_path")
    assert time.monotonic() - began < 10
    said = str(caught.value)
    assert "\n" not in said
    assert "secret" not in said
    assert "no answer within 0.6 s" in said or "cannot be read (" in said
    assert "start again" in said


def test_a_server_that_falls_silent_while_a_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZREC_PATIENCE", "2")
    whole = io.BytesIO()
    pq.write_table(pa.table({"n": range(1_000_000)}), whole, row_group_size=10_000, compression="none")
    content, footer = whole.getvalue(), 200_000

    def head(status: str, length: int, more: str) -> bytes:
        return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n\r\n".encode()

    def answer(connection: socket.socket) -> None:
        with closing(connection):
            while request := connection.recv(65536).decode():
                if request.startswith("HEAD"):
                    connection.sendall(head("200 OK", len(content), "Accept-Ranges: bytes"))
                    continue
                [wanted] = [line for line in request.splitlines() if line.lower().startswith("range:")]
                start, _, end = wanted.split("=")[1].partition("-")
                if int(start) < len(content) - footer * 20:
                    keep_silent(connection)
                    return
                piece = content[int(start) : int(end) + 1]
                span = f"Content-Range: bytes {start}-{end}/{len(content)}"
                connection.sendall(head("206 Partial Content", len(piece), span) + piece)

    with serve(answer) as port:
        table = ParquetTable(f"http://127.0.0.1:{port}/a.parquet")
        assert table.num_rows == 1_000_000
        began = time.monotonic()
        with pytest.raises(UserError, match=r"a\.parquet: no answer within 2 s"):
            list(table.batches(0, 1000))
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://bucket/a.parquet", r"install gcsfs .*; install that"),
        ("abfs://bucket/a.parquet", r"Install adlfs .*; install that"),
        ("nowhere://bucket/a.parquet", "Protocol not known: nowhere; give a local path or a URL"),
        ("zip://a.parquet::/nowhere.zip", r"cannot be read \(.*No such file"),
        (f"zip://a.parquet::{__file__}", "cannot be read .*not a zip file"),
        ("memory://", "matches no file"),
        ("memory://nothing/*", "matches no file"),
        ("s3://", "cannot be read|matches no file"),
        ("hdfs://nowhere/a", "cannot be read"),
    ],
)
def test_urls_that_cannot_be_asked(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand(url, (".parquet",), "train_input_path")
