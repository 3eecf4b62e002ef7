"""The item pool on disk: written once a host, mapped by all its processes, searched shard by shard.

The files are raw so that a process holds of them what it is looking at: a pool may be larger than
memory. They lie in the temporary folder and go when all processes have mapped them. Its order is drawn
at random by a fixed seed, so that of equal scores none is nearer for its place in the table.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from tzrec.retrieval.collapse import collapse
from tzrec.retrieval.exact import merge_ranked, nearest, rank, rescore
from tzrec.retrieval.hit_rate import Excluded
from tzrec.retrieval.index import Plan, building, empty, load, save
from tzrec.retrieval.items import BLOCK_ROWS, ItemTable, refuse_duplicates
from tzrec.retrieval.probing import Probes
from tzrec.retrieval.shuffle import Shuffler, drawn_order, drawn_places
from tzrec.runtime.errors import UserError
from tzrec.runtime.storage import refusal

# From this share of probed lists on, looking at every item and leaving out those of the other lists
# is faster than going through the lists. docs/benchmarks.md has the figures.
EXHAUSTIVE_FROM = 0.15
# Bytes of vectors that are searched at once.
SHARD_BYTES = 2 << 30


@dataclass(frozen=True)
class Search:
    """How the pool is searched.

    Attributes:
        plan: kind, lists, probes.
        shard_items: items searched at once; 0 for as many as SHARD_BYTES holds.
    """

    plan: Plan
    shard_items: int = 0

    def shard(self, dim: int) -> int:
        """Items of a shard of vectors of `dim` numbers."""
        return self.shard_items or max(1, SHARD_BYTES // (4 * dim))

    def exhaustive(self, items: int, dim: int) -> bool:
        """Whether every item is looked at, and not the probed lists only; the result is the same."""
        plan = self.plan
        return not plan.nlist or plan.nprobe >= EXHAUSTIVE_FROM * plan.nlist or items > self.shard(dim)

    def remark(self, items: int, dim: int) -> str:
        """One line that says which way runs."""
        plan, shards = self.plan, -(-items // self.shard(dim))
        turns = f" in {shards} shards" if shards > 1 else ""
        if not self.exhaustive(items, dim):
            return f"search: the {plan.nprobe} lists of each query"
        if plan.nprobe == plan.nlist:
            return f"search: every item{turns}"
        return (
            f"search: every item{turns}, of which each query keeps those of its {plan.nprobe} lists "
            "(the result of probing them; faster for so many)"
        )


@dataclass
class Pool:
    """The items, ready to be searched.

    Attributes:
        ids: large_string [N]; entry i is the id of vector i; in the order of `drawn_order`.
        vectors: float32 [N, D], mapped.
        metric: faiss's number.
        longest: the greatest length of a vector.
        shard_items: items searched at once.
        probes: the lists of a query; None when every item may be given.
        lists: int32 [N], the list of each item, mapped; None without probes or with `ivf`.
        ivf: faiss index; None when every item is looked at.
        warning: one line where the vectors have collapsed, else "".
    """

    ids: pa.Array
    vectors: np.ndarray
    metric: int
    longest: float
    shard_items: int
    probes: Probes | None = None
    lists: np.ndarray | None = None
    ivf: Any = None
    warning: str = ""

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def table_rows(self) -> np.ndarray:
        """int64 [N], the row of the table that each item stands in."""
        return drawn_order(len(self))

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    @property
    def larger_is_nearer(self) -> bool:
        return self.metric == faiss.METRIC_INNER_PRODUCT

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self) // self.shard_items)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        batch_size: int = 1024,
        excluded: Excluded | None = None,
        on_done: Callable[[float], object] = lambda queries: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest items of each query; the result does not depend on the other queries.

        Args:
            queries: float32 [Q, D].
            k: how many; may be more than there are.
            batch_size: queries searched at once.
            excluded: items that a query must not be given.
            on_done: is called with how many queries were done since the last call; fractions
                when there are several shards.

        Returns:
            Scores float32 [Q, k], nearest first (inner products, or squared distances), of equal
            ones the item that stands first in the pool, and positions int64 [Q, k]; -1 and NaN
            where there are fewer than k.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        scores = np.full((len(queries), k), np.nan, np.float32)
        positions = np.full((len(queries), k), -1, np.int64)
        # A shard is read once for all queries of this call, and not once a batch.
        for start in range(0, len(self), self.shard_items):
            for low in range(0, len(queries), batch_size):
                part = slice(low, low + batch_size)
                taken = None if excluded is None else excluded.part(low, low + batch_size)
                found = (
                    self._by_lists(queries[part], k, taken)
                    if self.ivf is not None
                    else self._exhaustively(queries[part], k, start, taken)
                )
                if start:
                    found = merge_ranked([(scores[part], positions[part]), found], k, self.larger_is_nearer)
                scores[part], positions[part] = found
                on_done(len(queries[part]) / self.shards)
        return scores, positions

    def _exhaustively(
        self, queries: np.ndarray, k: int, start: int, excluded: Excluded | None
    ) -> tuple[np.ndarray, np.ndarray]:
        shard = self.vectors[start : start + self.shard_items]
        lists = None if self.lists is None else self.lists[start : start + self.shard_items]
        probed = None if self.probes is None or self.probes.all else self.probes.chosen(queries)

        def keep(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
            allowed = np.ones((len(rows), found.shape[1]), bool)
            if probed is not None and lists is not None:
                allowed &= np.take_along_axis(probed[rows], lists[found], axis=1)
            if excluded is not None:
                allowed &= ~excluded.has(rows, found + start)
            return allowed

        extra = 0 if excluded is None else min(k, int(np.quantile(excluded.sizes, 0.9)))
        filtered = keep if probed is not None or excluded is not None else None
        scores, found = nearest(queries, shard, k, self.metric, self.longest, filtered, extra)
        return scores, np.where(found >= 0, found + start, -1)

    def _by_lists(
        self, queries: np.ndarray, k: int, excluded: Excluded | None
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self.probes is not None
        lists = np.nonzero(self.probes.chosen(queries))[1].reshape(len(queries), self.probes.count)
        # A little deeper than asked for: the scores that decide are those of `rescore`.
        deep = min(len(self), k + 16 + (0 if excluded is None else int(excluded.sizes.max(initial=0))))
        _, found = self.ivf.search_preassigned(
            queries, deep, lists.astype(np.int64), np.zeros(lists.shape, np.float32)
        )
        if excluded is not None:
            found = np.where(excluded.has(np.arange(len(queries)), found), -1, found)
        scores, found = rank(rescore(queries, self.vectors, found, self.metric), found, self.larger_is_nearer)
        short = max(0, k - deep)
        return (
            np.pad(scores, ((0, 0), (0, short)), constant_values=np.nan)[:, :k],
            np.pad(found, ((0, 0), (0, short)), constant_values=-1)[:, :k],
        )


def write_pool(
    folder: Path,
    items: ItemTable,
    how: Search,
    threads: int = 0,
    see: Callable[[int], object] = lambda rows: None,
) -> None:
    """Reads the table once more after its sample and leaves the files of a pool.

    Args:
        folder: where they go; is there already.
        items: the table.
        how: the search they are for.
        threads: for building; as OpenMP has them when 0.
        see: is called with the number of items of each block that is done.

    Raises:
        UserError: an id or a vector that cannot be used, an id twice, a folder without room.
    """
    plan = how.plan
    sample = items.sample(plan.sample)
    dim = sample.shape[1]
    by_lists = not how.exhaustive(len(items), dim)
    ids: list[pa.Array] = []
    lists: list[np.ndarray] = []
    longest, warning = 0.0, ""
    with building(threads):
        index = None
        if plan.nlist:
            index = empty(plan, dim)
            index.train(np.ascontiguousarray(sample))
            centres = index.quantizer.reconstruct_n(0, plan.nlist)
        try:
            if index is not None:
                # Through a file of Python, which names the errno of a refused write; numpy does not.
                with open(folder / "centres", "wb") as file:
                    file.write(centres.data)
            shuffler = Shuffler(folder, drawn_places(len(items)), dim)
            with open(folder / "vectors", "wb") as vectors:
                for block_ids, block in items.blocks(dim, BLOCK_ROWS):
                    ids.append(block_ids)
                    longest = max(longest, float(np.linalg.norm(block.astype(np.float64), axis=1).max()))
                    block = np.ascontiguousarray(block)
                    shuffler.add(block)
                    if index is not None and not by_lists:
                        lists.append(index.quantizer.assign(block, 1).astype(np.int32))
                    see(len(block))
                together = pa.concat_arrays(ids)
                refuse_duplicates(together, items.place(items.id_field, 0))
                for number, block in enumerate(shuffler.blocks()):
                    if not number:
                        warning = collapse(block, "item vectors")
                    vectors.write(block.data)
                    if index is not None and by_lists:
                        for start in range(0, len(block), BLOCK_ROWS):
                            index.add(block[start : start + BLOCK_ROWS])
            order = drawn_order(len(items))
            if lists:
                with open(folder / "lists", "wb") as file:
                    file.write(np.concatenate(lists)[order].data)
            table = pa.table({"id": together.take(pa.array(order))})
            with pa.ipc.new_file(str(folder / "ids"), table.schema) as writer:
                writer.write_table(table)
            if by_lists:
                save(index, str(folder / "ivf"))
            facts = {
                "dim": dim,
                # A float32 sum of squares may round up; a bound must not be below it.
                "longest": longest * (1 + 1e-6),
                "metric": plan.metric,
                "nprobe": plan.nprobe,
                "shard_items": how.shard(dim),
                "warning": warning,
            }
            (folder / "pool.json").write_text(json.dumps(facts), encoding="utf-8")
        except OSError as error:
            if refusal(error) is None:
                raise
            room = (4 * dim + 16) * len(items)
            raise UserError(
                f"{folder}: {os.strerror(refusal(error) or 0)}; the item vectors need {room:,} bytes "
                "there, set TMPDIR to a folder that has the room"
            ) from None


def open_pool(folder: Path) -> Pool:
    """Maps the files that `write_pool` left; they may be removed afterwards."""
    facts = json.loads((folder / "pool.json").read_text(encoding="utf-8"))
    with pa.memory_map(str(folder / "ids")) as source:
        ids = pa.ipc.open_file(source).read_all().column("id").combine_chunks()
    metric, dim = facts["metric"], facts["dim"]
    pool = Pool(
        ids,
        np.memmap(folder / "vectors", np.float32, "r").reshape(-1, dim).view(np.ndarray),
        metric,
        facts["longest"],
        facts["shard_items"],
        warning=facts["warning"],
    )
    if facts["nprobe"]:
        pool.probes = Probes(
            np.fromfile(folder / "centres", np.float32).reshape(-1, dim), facts["nprobe"], metric
        )
        if (folder / "ivf").exists():
            pool.ivf = load(str(folder / "ivf"), shared=True)
        elif not pool.probes.all:
            pool.lists = np.memmap(folder / "lists", np.int32, "r").view(np.ndarray)
    return pool
