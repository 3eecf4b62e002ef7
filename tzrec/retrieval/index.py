"""A faiss index of the item pool: choose, train, fill, search, save, load.

The number of IVF lists never exceeds what the pool can train: faiss wants 39 vectors a list.
"""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from tzrec.runtime.errors import UserError, nearest

# What faiss's k-means wants as its least, and makes use of at the most, for one list.
LEAST_A_LIST, MOST_A_LIST = 39, 256
# Vectors that train a quantiser: 256 centroids of 256 vectors each.
QUANTISER_SAMPLE = 256 * MOST_A_LIST
SEED = 20240607

METRICS = {"IP": faiss.METRIC_INNER_PRODUCT, "L2": faiss.METRIC_L2}
IVF_TYPES = ("IVFFlatIP", "IVFFlatL2")
HNSW_TYPES = ("HNSWFlatIP", "HNSWFlatL2")
FLAT_TYPES = ("FlatIP", "FlatL2")
NAMED_TYPES = (*IVF_TYPES, *HNSW_TYPES, *FLAT_TYPES)


@dataclass(frozen=True)
class Plan:
    """What index to build.

    Attributes:
        kind: one of NAMED_TYPES, or a text in the language of faiss' index factory.
        metric: faiss's number.
        nlist: IVF lists; 0 for other kinds.
        nprobe: IVF lists that a search looks into.
        sample: vectors to train on, at most.
        links: HNSW's M.
        ef: HNSW's efConstruction, and efSearch of the index.
        remark: one line on what was chosen and why, for the user.
    """

    kind: str
    metric: int
    nlist: int = 0
    nprobe: int = 0
    sample: int = 0
    links: int = 32
    ef: int = 200
    remark: str = ""


def _lists(items: int, nlist: int, nprobe: int) -> tuple[int, int, str]:
    """Lists that `items` vectors can train, those of them to probe, and a remark where there are fewer."""
    lists = max(1, min(nlist, items // LEAST_A_LIST))
    share = min(1.0, nprobe / nlist)
    # The product is rounded first: 10 * (8 / 10) must not become 9 because of the last bit.
    probes = min(lists, max(1, math.ceil(round(lists * share, 6))))
    if lists == nlist:
        return lists, probes, ""
    remark = f" ({nlist} lists and {nprobe} probed asked for; {LEAST_A_LIST} vectors a list are wanted)"
    return lists, probes, remark


def plan_ivf(kind: str, items: int, nlist: int, nprobe: int) -> Plan:
    """An IVF index for `items` vectors: the lists asked for, or as many as they can train.

    Where lists are fewer than asked for, the same share of them is probed, rounded up.

    Args:
        kind: one of IVF_TYPES.
        items: vectors in the pool, at least 1.
        nlist: lists asked for, at least 1.
        nprobe: lists to probe, at least 1.
    """
    lists, probes, fewer = _lists(items, nlist, nprobe)
    sample = min(items, lists * MOST_A_LIST)
    remark = f"{kind} of {items:,} vectors: {lists} lists, {probes} probed, k-means on {sample:,}{fewer}"
    return Plan(kind, METRICS[kind[-2:]], lists, probes, sample, remark=remark)


def plan_hnsw(kind: str, items: int, links: int, ef: int) -> Plan:
    """An HNSW graph of `items` vectors, M = `links`, efConstruction = `ef`; searched with efSearch = `ef`."""
    remark = f"{kind} of {items:,} vectors: M {links}, efConstruction {ef}"
    return Plan(kind, METRICS[kind[-2:]], links=links, ef=ef, remark=remark)


def plan_flat(kind: str, items: int) -> Plan:
    """Every vector is looked at: nothing is trained."""
    return Plan(kind, METRICS[kind[-2:]], remark=f"{kind} of {items:,} vectors: exact")


def plan_factory(kind: str, metric: str, items: int, dim: int, probed: float, ef: int) -> Plan:
    """An index in the language of faiss' index factory, such as "IVF4096,PQ16" or "HNSW32,SQ8".

    Args:
        kind: the text; more lists than `items` can train are made fewer in it.
        metric: of METRICS.
        items: vectors in the pool.
        dim: numbers a vector.
        probed: share of IVF lists that a search looks into.
        ef: HNSW's efConstruction and efSearch.

    Raises:
        UserError: a text that faiss does not take for vectors of `dim` numbers.
    """
    asked = re.search(r"\bIVF(\d+)", kind)
    lists = probes = 0
    fewer = ""
    if asked and int(asked[1]):
        lists, probes, fewer = _lists(items, int(asked[1]), max(1, round(int(asked[1]) * probed)))
        kind = f"{kind[: asked.start(1)]}{lists}{kind[asked.end(1) :]}"
    try:
        trained = faiss.index_factory(dim, kind, METRICS[metric]).is_trained
    except RuntimeError as error:
        raise UserError(
            f"--index_type: {kind} is none of {', '.join(NAMED_TYPES)}{nearest(kind, NAMED_TYPES)}, and "
            f"faiss' index factory does not take it for vectors of {dim} numbers ({reason(error)})"
        ) from None
    sample = 0 if trained else min(items, max(lists * MOST_A_LIST, QUANTISER_SAMPLE))
    remark = f"{kind} ({metric}) of {items:,} vectors"
    remark += f": {lists} lists, {probes} probed" if lists else ""
    remark += f", trained on {sample:,}{fewer}" if sample else ""
    return Plan(kind, METRICS[metric], lists, probes, sample, ef=ef, remark=remark)


def reason(error: RuntimeError) -> str:
    """What faiss has to say, without the place in its source."""
    text = str(error).split(" at /", 1)[-1]
    return re.sub(r"^\S+:\d+: ", "", text).splitlines()[0].removeprefix("Error: ")


def sample_rows(items: int, count: int) -> np.ndarray:
    """Which rows to train on: int64 [count], ascending, the same for the same two numbers."""
    if count >= items:
        return np.arange(items)
    return np.sort(np.random.default_rng(SEED).choice(items, count, replace=False))


@contextmanager
def building(threads: int) -> Iterator[None]:
    """So many threads for what is inside; as OpenMP has them when 0."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def build(plan: Plan, dim: int, sample: np.ndarray, blocks: Iterable[np.ndarray], threads: int = 0) -> Any:
    """Trains an index on a sample and adds blocks of vectors.

    Args:
        plan: the kind and its sizes.
        dim: numbers a vector.
        sample: float32 [S, dim]; not used by a kind that needs no training.
        blocks: float32 [n, dim] each; only one is held at a time.
        threads: for building; as OpenMP has them when 0.

    Returns:
        The faiss index; position i is the i-th vector of all blocks.

    Raises:
        UserError: a sample that faiss cannot train the index on, a kind that cannot be added to.
    """
    with building(threads):
        index = empty(plan, dim)
        try:
            if not index.is_trained:
                index.train(np.ascontiguousarray(sample))
            for block in blocks:
                index.add(np.ascontiguousarray(block))
        except RuntimeError as error:
            raise UserError(
                f"--index_type: faiss cannot build {plan.kind} from these vectors ({reason(error)}); "
                "give another type"
            ) from None
        return index


def empty(plan: Plan, dim: int) -> Any:
    """The index before it is trained and filled."""
    if plan.kind in FLAT_TYPES:
        return faiss.IndexFlat(dim, plan.metric)
    if plan.kind in HNSW_TYPES:
        graph = faiss.IndexHNSWFlat(dim, plan.links, plan.metric)
        graph.hnsw.efConstruction = plan.ef
        graph.hnsw.efSearch = plan.ef
        return graph
    if plan.kind in IVF_TYPES:
        index = faiss.IndexIVFFlat(faiss.IndexFlat(dim, plan.metric), dim, plan.nlist, plan.metric)
        index.nprobe = plan.nprobe
        index.cp.seed = SEED
        # The sample is chosen already; a pool of fewer than 39 vectors has one list and needs no warning.
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = MOST_A_LIST
        return index
    made = faiss.index_factory(dim, plan.kind, plan.metric)
    settings = faiss.ParameterSpace()
    if plan.nlist:
        settings.set_index_parameter(made, "nprobe", plan.nprobe)
    if "HNSW" in plan.kind and not plan.nlist:
        for name in ("efConstruction", "efSearch"):
            settings.set_index_parameter(made, name, plan.ef)
    return made


def search(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What the index finds near each query, as a server would see it.

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
        scores[:, :width], positions[:, :width] = index.search(np.ascontiguousarray(queries), width)
    return scores, positions


def save(index: Any, path: str) -> None:
    """Writes a file that faiss.read_index loads.

    Raises:
        OSError: a refused write.
    """
    # faiss's own writer only prints that the last bytes did not reach the file when it is closed.
    with open(path, "wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, 1 << 20))  # type: ignore[attr-defined]


def load(path: str, shared: bool = False) -> Any:
    """Reads an index; `shared` maps the file into memory, so that processes hold it once."""
    return faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC) if shared else faiss.read_index(path)
