"""Queries a second of the hit rate beside faiss' own exhaustive search, on the same vectors in one run.

    make bench-search
    python benchmarks/search.py --items 100000,1000000 --queries 4096

Both are run in turn. The hit rate reads the user table, searches with the tutorial's flags (IVF, 1000
lists, 800 probed, top 200) and counts hits; `faiss.knn` only searches, in every item. With
--shares the two ways of searching an IVF index are compared at several shares of probed lists. On a
busy machine OMP_NUM_THREADS=1 makes all times processor times, which others do not disturb.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.retrieval import pool as pools
from tzrec.retrieval.flags import positive, positives
from tzrec.retrieval.index import plan_ivf
from tzrec.retrieval.items import ItemTable
from tzrec.retrieval.pool import Pool, Search, open_pool, write_pool
from tzrec.retrieval.users import Retrieval, UserTable, score

TOP_K, LISTS, PROBED = 200, 1000, 800


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_tables(folder: Path, items: int, queries: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Clustered vectors of length one, and users near an item each."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((500, dim), dtype=np.float32)
    vectors = unit(centres[rng.integers(0, 500, items)] + rng.standard_normal((items, dim), dtype=np.float32))
    wanted = rng.integers(0, items, queries)
    users = unit(vectors[wanted] + 0.15 * rng.standard_normal((queries, dim), dtype=np.float32))

    def column(rows: np.ndarray) -> pa.Array:
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * dim
        return pa.ListArray.from_arrays(offsets, rows.reshape(-1))

    pq.write_table(pa.table({"item_id": np.arange(items), "emb": column(vectors)}), folder / "items.parquet")
    table = pa.table({"user_id": np.arange(queries), "gt": wanted, "emb": column(users)})
    pq.write_table(table, folder / "users.parquet")
    return vectors, users


def seconds(work: Callable[[], object]) -> float:
    """Wall time, or on one thread processor time: that does not see what else the machine does."""
    clock = time.process_time if faiss.omp_get_max_threads() == 1 else time.perf_counter
    began = clock()
    work()
    return clock() - began


def make_pool(folder: Path, items: int, probed: int, exhaustive_from: float) -> Pool:
    table = ItemTable.open(str(folder / "items.parquet"), "--items", "item_id", "emb")
    pools.EXHAUSTIVE_FROM = exhaustive_from
    with tempfile.TemporaryDirectory(dir=folder) as place:
        write_pool(Path(place), table, Search(plan_ivf("IVFFlatIP", items, LISTS, probed)))
        return open_pool(Path(place))


def against_knn(items: int, queries: int, dim: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        vectors, asked = write_tables(Path(folder), items, queries, dim)
        began = time.perf_counter()
        pool = make_pool(Path(folder), items, PROBED, pools.EXHAUSTIVE_FROM)
        built = time.perf_counter() - began
        users = UserTable.open(str(Path(folder) / "users.parquet"), "--users", "user_id", "gt", "emb")
        times: dict[str, list[float]] = {"hit rate": [], "knn": []}
        for _ in range(repeats):
            times["hit rate"].append(seconds(lambda: score(users, 0, queries, pool, Retrieval(TOP_K))))
            times["knn"].append(seconds(lambda: faiss.knn(asked, vectors, TOP_K, faiss.METRIC_INNER_PRODUCT)))
        ratio = median(knn / ours for ours, knn in zip(*times.values(), strict=True))
        ours, knn = (queries / median(took) for took in times.values())
        print(
            f"| {items:,} | {ours:,.0f} | {knn:,.0f} | {ratio:.2f} | {built:.1f} s |",
            flush=True,
        )


def both_ways(items: int, queries: int, dim: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _, asked = write_tables(Path(folder), items, queries, dim)
        lists = make_pool(Path(folder), items, 1, 2.0)
        every = make_pool(Path(folder), items, 1, 0.0)
        for share in (0.01, 0.05, 0.1, 0.15, 0.2, 0.4, 0.8):
            times = []
            for _ in range(repeats):
                row = []
                for pool in (lists, every):
                    assert pool.probes is not None
                    pool.probes = replace(pool.probes, count=round(share * len(pool.probes.centres)))
                    if pool.ivf is not None:
                        pool.ivf.nprobe = pool.probes.count
                    row.append(seconds(lambda pool=pool: pool.search(asked, TOP_K)))
                times.append(row)
            by_lists, exhaustively = np.median(times, axis=0)
            print(f"| {share:.2f} | {by_lists:.2f} s | {exhaustively:.2f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=positives, default=[100_000, 1_000_000], help="sizes of the pool")
    parser.add_argument("--queries", type=positive, default=4096)
    parser.add_argument("--dim", type=positive, default=64)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--shares", action="store_true", help="compare the two ways instead")
    args = parser.parse_args()
    print(f"{' '.join(sys.argv)}: {os.cpu_count()} cores, {faiss.omp_get_max_threads()} threads, top {TOP_K}")
    if args.shares:
        print("| lists probed | through the lists | every item, then a filter |\n|---|---|---|")
    else:
        print(
            "| items | hit rate, queries/s | faiss.knn, queries/s | ratio | pool ready in |\n"
            "|---|---|---|---|---|"
        )
    for items in args.items:
        (both_ways if args.shares else against_knn)(items, args.queries, args.dim, args.repeats)


if __name__ == "__main__":
    main()
