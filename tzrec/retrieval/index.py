"""A faiss index of the item pool: choose, train, fill, search, save, load.

The number of IVF lists never exceeds what the pool can train: faiss wants 39 vectors a list.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

# What faiss's k-means wants as its least, and makes use of at the most, for one list.
LEAST_A_LIST, MOST_A_LIST = 39, 256
SEED = 20240607

_METRICS = {"IP": faiss.METRIC_INNER_PRODUCT, "L2": faiss.METRIC_L2}
IVF_TYPES = ("IVFFlatIP", "IVFFlatL2")
HNSW_TYPES = ("HNSWFlatIP", "HNSWFlatL2")
INDEX_TYPES = (IVF_TYPES[0], HNSW_TYPES[0], IVF_TYPES[1], HNSW_TYPES[1])


@dataclass(frozen=True)
class Plan:
    """What index to build.

    Attributes:
        kind: one of INDEX_TYPES.
        nlist: IVF lists; 0 for other kinds.
        nprobe: IVF lists that a search looks into.
        sample: vectors to train on, at most.
        links: HNSW's M.
        ef: HNSW's efConstruction, and efSearch of the index.
        remark: one line on what was chosen and why, for the user.
    """

    kind: str
    nlist: int = 0
    nprobe: int = 0
    sample: int = 0
    links: int = 32
    ef: int = 200
    remark: str = ""

    @property
    def metric(self) -> int:
        """faiss's number of the metric."""
        return _METRICS[self.kind[-2:]]

    @property
    def larger_is_nearer(self) -> bool:
        return self.kind.endswith("IP")


def plan_ivf(kind: str, items: int, nlist: int, nprobe: int) -> Plan:
    """An IVF index for `items` vectors: the lists asked for, or as many as they can train.

    Where lists are fewer than asked for, the same share of them is probed, rounded up.

    Args:
        kind: one of IVF_TYPES.
        items: vectors in the pool, at least 1.
        nlist: lists asked for, at least 1.
        nprobe: lists to probe, at least 1.
    """
    lists = max(1, min(nlist, items // LEAST_A_LIST))
    share = min(1.0, nprobe / nlist)
    # The product is rounded first: 10 * (8 / 10) must not become 9 because of the last bit.
    probes = min(lists, max(1, math.ceil(round(lists * share, 6))))
    sample = min(items, lists * MOST_A_LIST)
    remark = f"{kind} of {items:,} vectors: {lists} lists, {probes} probed, k-means on {sample:,}"
    if lists < nlist:
        remark += f" ({nlist} lists and {nprobe} probed asked for; {LEAST_A_LIST} vectors a list are wanted)"
    return Plan(kind, lists, probes, sample, remark=remark)


def plan_hnsw(kind: str, items: int, links: int, ef: int) -> Plan:
    """An HNSW graph of `items` vectors, M = `links`, efConstruction = `ef`; searched with efSearch = `ef`."""
    remark = f"{kind} of {items:,} vectors: M {links}, efConstruction {ef}"
    return Plan(kind, links=links, ef=ef, remark=remark)


def sample_rows(items: int, count: int) -> np.ndarray:
    """Which rows to train on: int64 [count], ascending, the same for the same two numbers."""
    if count >= items:
        return np.arange(items)
    return np.sort(np.random.default_rng(SEED).choice(items, count, replace=False))


def build(plan: Plan, dim: int, sample: np.ndarray, blocks: Iterable[np.ndarray], threads: int = 0) -> Any:
    """Trains an index on a sample and adds blocks of vectors.

    Args:
        plan: the kind and its sizes.
        dim: numbers a vector.
        sample: float32 [S, dim]; not used by HNSW.
        blocks: float32 [n, dim] each; only one is held at a time.
        threads: for building; as OpenMP has them when 0.

    Returns:
        The faiss index; position i is the i-th vector of all blocks.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        index = _empty(plan, dim)
        if not index.is_trained:
            index.train(np.ascontiguousarray(sample))
        for block in blocks:
            index.add(np.ascontiguousarray(block))
        return index
    finally:
        faiss.omp_set_num_threads(before)


def _empty(plan: Plan, dim: int) -> Any:
    if plan.kind in HNSW_TYPES:
        graph = faiss.IndexHNSWFlat(dim, plan.links, plan.metric)
        graph.hnsw.efConstruction = plan.ef
        graph.hnsw.efSearch = plan.ef
        return graph
    index = faiss.IndexIVFFlat(faiss.IndexFlat(dim, plan.metric), dim, plan.nlist, plan.metric)
    index.nprobe = plan.nprobe
    index.cp.seed = SEED
    # The sample is chosen already; a pool of fewer than 39 vectors has one list and needs no warning.
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = MOST_A_LIST
    return index


@contextmanager
def _query_by_query() -> Iterator[None]:
    """faiss compares queries with list centres one by one, without the matrix library.

    That one rounds differently for another number of queries, and the last list probed could
    change with the batch size. At 1,000 lists it costs nothing that can be measured.
    """
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 2**31 - 1
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


def search(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest vectors of each query; its result does not depend on the other queries.

    Args:
        index: from `build` or `load`.
        queries: float32 [Q, dim].
        k: how many; may be more than there are.

    Returns:
        Scores float32 [Q, k], nearest first (inner products, or squared distances), and
        positions int64 [Q, k]; -1 where the index found fewer than k.
    """
    width = min(k, index.ntotal)
    scores = np.full((len(queries), k), np.nan, np.float32)
    positions = np.full((len(queries), k), -1, np.int64)
    if len(queries) and width:
        with _query_by_query():
            scores[:, :width], positions[:, :width] = index.search(np.ascontiguousarray(queries), width)
    return scores, positions


def save(index: Any, path: str) -> None:
    """Writes a file that faiss.read_index loads."""
    faiss.write_index(index, path)


def load(path: str, shared: bool = False) -> Any:
    """Reads an index; `shared` maps the file into memory, so that processes hold it once."""
    return faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC) if shared else faiss.read_index(path)
