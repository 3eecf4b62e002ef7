"""HNSW graphs for inner products that reach the items.

A graph that is built with inner products links every vector to the longest ones: where lengths
differ, or all vectors share a direction, most of the others may become unreachable. Links made by
distances do not have that flaw, and the search may follow them with inner products all the same:
the file holds the vectors as they are and answers with inner products.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import faiss
import numpy as np

from tzrec.retrieval.index import Plan, build, empty
from tzrec.retrieval.witness import NEAREST, Witness, ask

# Vectors that the graphs are tried on, at most.
TRIAL = 10_000
# From this recall on a graph is good enough not to try another one.
GOOD = 0.95
# By what the links are made: inner products, or distances.
LINKS = ("products", "distances")


def lengths_differ(vectors: np.ndarray) -> bool:
    """Whether inner products order the vectors in another way than distances would."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return bool(lengths.std() > 1e-3 * lengths.mean())


def build_graph(plan: Plan, dim: int, blocks: Iterable[np.ndarray], links: str, threads: int = 0) -> Any:
    """A graph of all blocks; position i is the i-th vector of them.

    Args:
        plan: HNSW over inner products.
        dim: numbers a vector.
        blocks: float32 [n, dim] each.
        links: of LINKS. With distances the vectors stand in memory twice for a moment at the end.
        threads: for building; as OpenMP has them when 0.

    Returns:
        The faiss index, which answers with inner products whatever the links are made by.
    """
    if links == "products":
        return build(plan, dim, np.empty((0, dim), np.float32), blocks, threads)
    graph = build(replace(plan, metric=faiss.METRIC_L2), dim, np.empty((0, dim), np.float32), blocks, threads)
    made = empty(plan, dim)
    made.hnsw = graph.hnsw
    # It came with the links, from a graph of distances.
    made.hnsw.is_similarity = True
    vectors: Any = faiss.downcast_index(graph.storage)
    made.storage.add(faiss.rev_swig_ptr(vectors.get_xb(), graph.ntotal * dim).reshape(-1, dim))
    made.ntotal = graph.ntotal
    return made


def choose_links(plan: Plan, sample: np.ndarray) -> tuple[str, str]:
    """By what to make the links of a graph, from trials on a sample, and a line for the user, or "".

    Args:
        plan: HNSW over inner products.
        sample: float32 [S, dim], of the pool.
    """
    if not lengths_differ(sample):
        return LINKS[0], ""
    trial = np.ascontiguousarray(sample[:: max(1, len(sample) // TRIAL)][:TRIAL])
    witness = Witness(ask(trial, plan.metric), plan.metric)
    witness.see(trial)
    products, distances = LINKS
    found = witness.recall(build_graph(plan, trial.shape[1], [trial], products))
    if found >= GOOD:
        return products, ""
    other = witness.recall(build_graph(plan, trial.shape[1], [trial], distances))
    line = (
        f"the lengths of the vectors differ: on {len(trial):,} of them a graph linked by inner products "
        f"finds {found:.1%} of the {NEAREST} nearest, one linked by distances {other:.1%}"
    )
    if other <= found:
        return products, f"{line}; IVFFlatIP may find more"
    return distances, f"{line}, which is used; its scores are inner products all the same"
