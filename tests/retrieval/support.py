"""A small world of items and users, and a plain NumPy and Python reference of the hit rate over it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.retrieval.index import FLAT_TYPES, plan_flat, plan_ivf
from tzrec.retrieval.items import ItemTable
from tzrec.retrieval.pool import Pool, Search, open_pool, write_pool
from tzrec.retrieval.shuffle import drawn_order
from tzrec.retrieval.users import UserTable


@dataclass
class Case:
    """Items and users as arrays; every field may be replaced before `open`.

    Attributes:
        items: float32 [N, D].
        ids: N item ids.
        users: float32 [B, I, D].
        valid: how many of a row's vectors count.
        gt: ids each row wants; None for none.
        excluded: ids each row must not be given; None where nothing is excluded at all.
        kind: index type.
        lists, probes: of an IVF index.
        shard: items searched at once; 0 for all.
        as_text: vectors and ids as text.
    """

    items: np.ndarray
    ids: list
    users: np.ndarray
    gt: list
    valid: list[int] = field(default_factory=list)
    excluded: list | None = None
    kind: str = "IVFFlatIP"
    lists: int = 6
    probes: int = 5
    shard: int = 0
    as_text: bool = False

    @property
    def rows(self) -> int:
        return len(self.users)

    def open(self, folder: Path) -> tuple[Pool, UserTable]:
        """Writes the tables and opens them as the command does."""
        vectors = self.items.tolist()
        users = self.users.reshape(self.rows, -1).tolist()
        gt, excluded = self.gt, self.excluded
        if self.as_text:
            vectors = [",".join(map(repr, row)) for row in vectors]
            users = [";".join(",".join(map(repr, v)) for v in row) for row in self.users.tolist()]
            gt = [None if ids is None else ",".join(map(str, ids)) for ids in gt]
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": self.ids, "emb": vectors}), folder / "items.parquet")
        columns = {"user": [row % 7 for row in range(self.rows)], "gt": gt, "vec": users}
        if self.valid:
            columns["valid"] = self.valid
        if excluded is not None:
            columns["seen"] = excluded
        table = pa.table(columns)
        (folder / "users").mkdir(exist_ok=True)
        half = max(1, self.rows // 2)
        pq.write_table(table.slice(0, half), folder / "users" / "a.parquet", row_group_size=13)
        pq.write_table(table.slice(half), folder / "users" / "b.parquet")
        items = ItemTable.open(str(folder / "items.parquet"), "--items", "id", "emb")
        if self.kind in FLAT_TYPES:
            plan = plan_flat(self.kind, len(items))
        else:
            plan = plan_ivf(self.kind, len(items), self.lists, self.probes)
        (folder / "pool").mkdir(exist_ok=True)
        write_pool(folder / "pool", items, Search(plan, self.shard))
        return open_pool(folder / "pool"), UserTable.open(
            str(folder / "users"),
            "--users",
            "user",
            "gt",
            "vec",
            self.users.shape[1],
            "valid" if self.valid else None,
            "seen" if excluded is not None else None,
        )


def make_case(seed: int = 0, items: int = 260, rows: int = 61, interests: int = 1, dim: int = 5) -> Case:
    """Everything that can go wrong at once: ties, zero vectors, duplicates, rows without ground truth.

    Vectors have small integers, so that scores are exact in float32 and ties are real.
    """
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-3, 4, (items, dim)).astype(np.float32)
    vectors[rng.integers(0, items, items // 10)] = 0
    users = rng.integers(-3, 4, (rows, interests, dim)).astype(np.float32)
    users[rng.integers(0, rows, 4)] = 0
    ids = [2**53 + 1 + i for i in range(items)]
    gt = [[ids[i] for i in rng.integers(0, items, n % 5)] * (1 + n % 2) for n in range(rows)]
    gt = [None if n % 11 == 3 else [*wanted, 5] if n % 9 == 0 else wanted for n, wanted in enumerate(gt)]
    return Case(vectors, ids, users, gt)


def scores_of(case: Case, query: np.ndarray) -> np.ndarray:
    """Larger is nearer: float64 [N], exact for small integers."""
    items, query = case.items.astype(np.float64), query.astype(np.float64)
    if case.kind.endswith("IP"):
        return items @ query
    return -((items - query) ** 2).sum(1)


def allowed_of(case: Case, pool: Pool, row: int, query: np.ndarray) -> np.ndarray:
    """Which items a query may be given: bool [N]; by the centres of the pool, one list after another."""
    allowed = np.ones(len(case.items), bool)
    if pool.probes is not None:
        centres = pool.probes.centres.astype(np.float64)
        keys = centres @ query if case.kind.endswith("IP") else -((centres - query) ** 2).sum(1)
        probed = np.argsort(-keys, kind="stable")[: pool.probes.count]
        lists = pool.lists
        if pool.ivf is not None:
            lists = np.empty(len(case.items), np.int64)
            for number in range(pool.ivf.nlist):
                size = pool.ivf.invlists.list_size(number)
                lists[faiss.rev_swig_ptr(pool.ivf.invlists.get_ids(number), size)] = number
        if lists is not None:
            allowed &= np.isin(lists, probed)
    if case.excluded is not None:
        barred = {str(i) for i in case.excluded[row] or []}
        allowed &= np.array([str(i) not in barred for i in case.ids])
    return allowed


def in_pool_order(case: Case) -> Case:
    """The same with its items where they stand in the pool."""
    order = drawn_order(len(case.items))
    return replace(case, items=case.items[order], ids=[case.ids[row] for row in order.tolist()])


def reference(case: Case, pool: Pool, k: int, across: bool = False) -> tuple[list[list[int]], int, int]:
    """Items of every row in order, hits and ground-truth items, by sorting everything."""
    case = in_pool_order(case)
    given, hits, wanted_items = [], 0, 0
    for row in range(case.rows):
        count = case.valid[row] if case.valid else case.users.shape[1]
        best: dict[int, float] = {}
        for query in case.users[row, :count]:
            scores = scores_of(case, query)
            allowed = np.flatnonzero(allowed_of(case, pool, row, query))
            for item in allowed[np.argsort(-scores[allowed], kind="stable")[:k]].tolist():
                best[item] = max(best.get(item, -np.inf), scores[item])
        order = sorted(best, key=lambda item, best=best: (-best[item], item))
        given.append(order[:k] if across else order)
        wanted = {str(i) for i in case.gt[row] or []}
        hits += len(wanted & {str(case.ids[item]) for item in given[-1]})
        wanted_items += len(wanted)
    return given, hits, wanted_items
