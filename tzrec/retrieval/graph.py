"""HNSW graphs for inner products that reach the items.

A graph that is built with inner products links every vector to the longest ones: where lengths
differ, or all vectors share a direction, most of the others may become unreachable. Links made by
distances or by directions do not have that flaw, and the search may follow them with inner products
all the same: the file holds the vectors as they are and answers with inner products.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import faiss
import numpy as np

from tzrec.retrieval.index import Plan, building, empty
from tzrec.retrieval.witness import NEAREST, Witness, ask

# Vectors that the graphs are tried on, at most.
TRIAL = 10_000
# From this recall on a graph is good enough not to try another one.
GOOD = 0.95
# By what the links are made: inner products, distances, directions.
LINKS = ("products", "distances", "directions")


def lengths_differ(vectors: np.ndarray) -> bool:
    """Whether inner products order the vectors in another way than distances would."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return bool(lengths.std() > 1e-3 * lengths.mean())


class Graph:
    """A graph under construction.

    Args:
        plan: HNSW over inner products.
        dim: numbers a vector.
        links: of LINKS.
    """

    def __init__(self, plan: Plan, dim: int, links: str) -> None:
        self.plan, self.links = plan, links
        self.graph = empty(plan if links == "products" else replace(plan, metric=faiss.METRIC_L2), dim)
        # Directions lose the lengths, so the vectors are kept beside them until the end.
        self.vectors = faiss.IndexFlat(dim, plan.metric) if links == "directions" else None

    def add(self, block: np.ndarray) -> None:
        """Takes in the next vectors, float32 [n, dim]."""
        block = np.ascontiguousarray(block)
        if self.vectors is not None:
            self.vectors.add(block)
            block = block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-30)
        self.graph.add(block)

    def finish(self) -> Any:
        """The faiss index, which answers with inner products."""
        if self.vectors is None:
            self.graph.metric_type = self.graph.storage.metric_type = self.plan.metric
            return self.graph
        made = empty(self.plan, self.vectors.d)
        made.hnsw = self.graph.hnsw
        made.storage.add(
            faiss.rev_swig_ptr(self.vectors.get_xb(), self.vectors.ntotal * made.d).reshape(-1, made.d)
        )
        made.ntotal = self.vectors.ntotal
        return made


def build_graph(plan: Plan, dim: int, blocks: Iterable[np.ndarray], links: str, threads: int = 0) -> Any:
    """A graph of all blocks; position i is the i-th vector of them.

    Args:
        plan: HNSW over inner products.
        dim: numbers a vector.
        blocks: float32 [n, dim] each.
        links: of LINKS.
        threads: for building; as OpenMP has them when 0.
    """
    with building(threads):
        graph = Graph(plan, dim, links)
        for block in blocks:
            graph.add(block)
        return graph.finish()


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
    found: dict[str, float] = {}
    for links in LINKS:
        found[links] = witness.recall(build_graph(plan, trial.shape[1], [trial], links))
        if found[LINKS[0]] >= GOOD:
            return LINKS[0], ""
    best = max(LINKS, key=lambda links: found[links])
    tried = ", ".join(f"{links} {recall:.1%}" for links, recall in found.items())
    line = (
        f"the lengths of the vectors differ, and a graph linked by inner products finds only "
        f"{found[LINKS[0]]:.1%} of the {NEAREST} nearest on {len(trial):,} of them; links by {best} are used "
        f"({tried}), the scores stay inner products"
    )
    return best, line if best != LINKS[0] else f"{line}: no other links are better; IVFFlatIP may be"
