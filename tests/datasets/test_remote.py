"""Tables that are not local: any URL that fsspec knows, here memory and an object store on a socket."""

import socket
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzrec.datasets.csv import CsvTable
from tzrec.datasets.parquet import ParquetTable
from tzrec.runtime.errors import UserError

KEYS = {"key": "test", "secret": "test"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server of its own."""
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    fsspec.config.conf["s3"] = {"endpoint_url": f"http://127.0.0.1:{port}", **KEYS}
    fsspec.filesystem("s3").mkdir("tables")
    yield "s3://tables"
    fsspec.config.conf.pop("s3")
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def root(request: pytest.FixtureRequest) -> str:
    return "memory://tables" if request.param == "memory" else request.getfixturevalue("bucket")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_parquet_and_csv_tables(root: str) -> None:
    for name, start in (("a", 0), ("b", 30)):
        with fsspec.open(f"{root}/p/{name}.parquet", "wb") as file:
            pq.write_table(pa.table({"n": range(start, start + 30), "x": ["t"] * 30}), file, row_group_size=8)
        with fsspec.open(f"{root}/c/{name}.csv", "wb") as file:
            file.write("".join(f"{n},t\n" for n in range(start, start + 30)).encode())
    parquet = ParquetTable(f"{root}/p/*.parquet", ["n"])
    csv = CsvTable(f"{root}/c", ["n"], types={"n": pa.int64(), "x": pa.string()})
    for table in (parquet, csv):
        assert table.num_rows == 60
        assert [n for batch in table.batches(25, 41) for n in batch["n"].to_pylist()] == list(range(25, 41))
        assert table.place(33).startswith(f"{root.replace('memory://', 'memory:///')}/")
    with pytest.raises(UserError, match=r"nothing.*matches no file"):
        ParquetTable(f"{root}/nothing/*.parquet")
    with fsspec.open(f"{root}/bad/a.parquet", "wb") as file:
        file.write(b"no parquet at all")
    with pytest.raises(UserError, match=r"bad/a\.parquet: cannot be read as parquet"):
        ParquetTable(f"{root}/bad")


def test_a_protocol_that_there_is_not() -> None:
    with pytest.raises(UserError, match="nowhere://x"):
        ParquetTable("nowhere://x/*.parquet")
