"""Edge and user tables: what is read, what is left out and said, what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.test_sampler import pool
from tzrec.datasets.edge_table import open_edges
from tzrec.runtime.errors import UserError

USERS = "id:int64\tweight:float\n5\t1\n6\t1\n"
EDGES = "user_id:int64\titem_id:int64\tweight:float\n5\t1\t1\n6\t0\t0.5\n5\t2\t3\n"


def opened(
    folder: Path, edges: str = EDGES, users: str = USERS, text_items: bool = False, delimiter: str = "\t"
):
    (folder / "edges.txt").write_text(edges)
    (folder / "users.txt").write_text(users)
    return open_edges(
        str(folder / "edges.txt"),
        str(folder / "users.txt"),
        pool(folder, [1.0] * 4, text_items),
        delimiter,
        folder / "cache",
        "pos_edge_input_path",
        "user_input_path",
    )


def test_edges_as_rows_of_the_pool(tmp_path: Path) -> None:
    edges, note = opened(tmp_path)
    items, rows = edges.of(pa.array([6, 5]))
    assert (items.tolist(), rows.tolist(), note) == ([0, 1, 2], [0, 1, 1], "")
    assert isinstance(edges.items, np.memmap)
    assert edges.items.dtype == np.int32


def test_text_ids_and_another_delimiter(tmp_path: Path) -> None:
    edges, _ = opened(
        tmp_path,
        "u:string,i:string,w:double\nann,i3,1\nbob,i0,2\n",
        "u:string,w:float\nann,1\nbob,1\n",
        text_items=True,
        delimiter=",",
    )
    items, rows = edges.of(pa.array(["bob", "ann"]))
    assert (items.tolist(), rows.tolist()) == ([0, 3], [0, 1])


def test_what_is_not_in_the_pool_or_the_user_table_is_said(tmp_path: Path) -> None:
    edges, note = opened(tmp_path, EDGES + "5\t77\t1\n9\t1\t1\n")
    assert len(edges) == 4
    assert note == (
        "pos_edge_input_path: 4 edges; 1 edges to items that the item table lacks are left out; "
        "1 users with edges are not in the user table; their edges count all the same"
    )
    assert edges.of(pa.array([9]))[0].tolist() == [1]


def test_parquet_edges(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [5, 6], "b": [1, 3], "c": [1.0, 2.0]}), tmp_path / "e.parquet")
    (tmp_path / "users.txt").write_text(USERS)
    edges, _ = open_edges(
        str(tmp_path / "e.parquet"),
        str(tmp_path / "users.txt"),
        pool(tmp_path, [1.0] * 4),
        "\t",
        tmp_path / "cache",
        "pos",
        "users",
    )
    assert edges.of(pa.array([6]))[0].tolist() == [3]


def test_another_pool_has_other_edges(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first, _ = opened(tmp_path / "a")
    (tmp_path / "a" / "edges.txt").write_text(EDGES + "6\t3\t1\n")
    assert len(first) == 3
    again, _ = opened(tmp_path / "a", EDGES + "6\t3\t1\n")
    assert len(again) == 4


@pytest.mark.parametrize(
    ("edges", "users", "message"),
    [
        ("5\t1\t1\n", USERS, r"edges.txt:1: the header is .*user_id:int64\\titem_id:int64\\tweight:float"),
        (EDGES + "5\t1\n", USERS, r"edges.txt:5: 2 columns where user_id, item_id, weight make 3"),
        (EDGES + "x\t1\t1\n", USERS, r"edges.txt:5: the id 'x' is no int64"),
        (EDGES + "5\t1\t-1\n", USERS, r"edges.txt:5: the weight -1.0 is negative"),
        (EDGES + "5\t1\tnan\n", USERS, r"edges.txt:5: the weight 'nan' is no double"),
        (EDGES, "id:int64\tweight:float\n5\tx\n", r"users.txt:2: the weight 'x' is no double"),
        (EDGES, "id:string\tweight:float\nann\t1\n", "its user ids are integers, those of .*users.txt text"),
        (EDGES.replace("item_id:int64", "item_id:string"), USERS, "its item ids are text, those of"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, edges: str, users: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(tmp_path, edges, users)
    assert [
        path.name
        for path in (tmp_path / "cache").iterdir()
        if path.name.startswith("edges") and path.is_dir()
    ] == []
