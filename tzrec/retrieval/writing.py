"""The index and its ids as the two files that a server takes, whole or not at all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.retrieval.collapse import LOOKED_AT, collapse
from tzrec.retrieval.graph import build_graph, choose_links
from tzrec.retrieval.index import Plan, build, load, sample_rows, save
from tzrec.retrieval.items import BLOCK_ROWS, ItemTable, refuse_duplicates
from tzrec.retrieval.witness import QUERIES, Latency, Witness, ask, latency
from tzrec.runtime.output import StagedFiles

INDEX, MAPPING = "faiss_index", "id_mapping"


@dataclass(frozen=True)
class Written:
    """An index that stands in its place.

    Attributes:
        items: vectors.
        dim: numbers a vector.
        size: bytes of the index.
        recall: share of exact neighbours that it finds.
        queries: how many queries that was measured with.
        latency: of one query.
        remark: a line for the user, or "".
        warning: one where the vectors have collapsed, or "".
    """

    items: int
    dim: int
    size: int
    recall: float
    queries: int
    latency: Latency
    remark: str
    warning: str


def create(
    items: ItemTable,
    plan: Plan,
    folder: StagedFiles,
    batch_size: int,
    see: Callable[[int], object] = lambda rows: None,
) -> Written:
    """Builds the index of a table, writes both files, reads them back, and gives them their names.

    The table is read twice: for a sample, then to add its rows. Held are the index, the ids, the
    sample and one block of rows.

    Args:
        items: the table.
        plan: the index.
        folder: for the files; it has begun, and is finished here.
        batch_size: rows added at once.
        see: is called with the number of rows of each batch that was added.

    Raises:
        UserError: an id or a vector that cannot be used, an id twice, vectors that faiss cannot index.
    """
    sample = items.sample(max(plan.sample, QUERIES, BLOCK_ROWS))
    dim = sample.shape[1]
    warning = collapse(sample[sample_rows(len(sample), LOOKED_AT)], "item vectors")
    witness = Witness(ask(sample, plan.metric), plan.metric)
    ids: list[pa.Array] = []

    def batches() -> Iterator[np.ndarray]:
        for block_ids, block in items.blocks(dim, max(batch_size, BLOCK_ROWS)):
            ids.append(block_ids)
            witness.see(block)
            for start in range(0, len(block), batch_size):
                batch = block[start : start + batch_size]
                yield batch
                see(len(batch))

    remark = ""
    if plan.kind == "HNSWFlatIP":
        links, remark = choose_links(plan, sample)
        index = build_graph(plan, dim, batches(), links)
    else:
        index = build(plan, dim, sample, batches())
    together = pa.concat_arrays(ids)
    refuse_duplicates(together, items.place(items.id_field, 0))
    mapping, path = folder.path / MAPPING, folder.path / INDEX
    with folder.writing():
        save(index, str(path))
        write_ids(together, mapping)
    del index
    written = load(str(path), shared=True)
    verify(written, together, mapping)
    facts = Written(
        len(together),
        dim,
        path.stat().st_size,
        witness.recall(written),
        len(witness.queries),
        latency(written, witness.queries),
        remark,
        warning,
    )
    del written
    folder.finish()
    return facts


def write_ids(ids: pa.Array, path: Path) -> None:
    """One id a line, UTF-8."""
    nothing, line_end = (pa.scalar(text, pa.large_string()) for text in ("", "\n"))
    lines = pc.binary_join_element_wise(ids, nothing, line_end)
    with open(path, "wb") as file:
        # A fresh array: its characters are exactly the lines, one after another.
        file.write(lines.buffers()[2])


def verify(index, ids: pa.Array, mapping: Path) -> None:  # type: ignore[no-untyped-def]
    """Holds what was read back against what was written.

    Raises:
        RuntimeError: another number of vectors, or other ids: the disk or the program is at fault.
    """
    if index.ntotal != len(ids):
        raise RuntimeError(f"the index read back holds {index.ntotal} vectors, {len(ids)} were written")
    place = 0
    with open(mapping, encoding="utf-8", newline="\n") as lines:
        while block := lines.readlines(1 << 24):
            expected = ids.slice(place, len(block)).to_pylist()
            if [line.removesuffix("\n") for line in block] != expected:
                raise RuntimeError(f"{mapping}, read back, differs from what was written after line {place}")
            place += len(block)
    if place != len(ids):
        raise RuntimeError(f"{mapping}, read back, has {place} lines, {len(ids)} were written")
