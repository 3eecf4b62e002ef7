"""Index of the item pool, for the server that runs the user tower.

    python -m tzrec.tools.create_faiss_index \\
        --embedding_input_path experiments/dssm_taobao_local/item_emb/\\*.parquet \\
        --index_output_dir experiments/dssm_taobao_local/export/user \\
        --id_field adgroup_id --embedding_field item_tower_emb

Writes `faiss_index` (faiss.read_index loads it) and `id_mapping` (one id a line, line i is
the id of vector i) into the folder; what stood there under these names is replaced at the end.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tzrec.retrieval.flags import only, positive
from tzrec.retrieval.index import HNSW_TYPES, INDEX_TYPES, Plan, load, plan_hnsw, plan_ivf, save
from tzrec.retrieval.items import ItemTable, Pool, build_pool
from tzrec.retrieval.outputs import local_folder, replace_together
from tzrec.retrieval.witness import NEAREST, QUERIES, Witness
from tzrec.runtime.command import Parser, run
from tzrec.runtime.progress import bar, duration, say
from tzrec.runtime.world import World

MODULE = "tzrec.tools.create_faiss_index"

# The share of its lists that a written IVF index searches unless the server says otherwise:
# that of hitrate's defaults, so that what is served is what was measured.
PROBED = 0.8
# Below this the index is said not to find what is there.
GOOD_RECALL = 0.9


def make_parser() -> Parser:
    parser = Parser(MODULE, __doc__ or "")
    add = parser.add_argument
    add(
        "--embedding_input_path", required=True, help="table of item ids and vectors: file, folder, glob, URL"
    )
    add(
        "--index_output_dir", required=True, help="folder for faiss_index and id_mapping, such as export/user"
    )
    add("--batch_size", type=positive, default=1024, help="rows read and added at once (1024)")
    add("--index_type", choices=INDEX_TYPES, default=INDEX_TYPES[0], help="kind of index (IVFFlatIP)")
    add("--ivf_nlist", type=positive, default=1000, help="lists of an IVF index, at most (1000)")
    add("--hnsw_M", type=positive, default=32, help="links a vector of an HNSW index (32)")
    add("--hnsw_efConstruction", type=positive, default=200, help="candidates when HNSW adds a vector (200)")
    add("--id_field", default="item_id", help="column of item ids (item_id)")
    add("--embedding_field", default="item_tower_emb", help="column of item vectors (item_tower_emb)")
    add("--reader_type", help="ParquetReader")
    return parser


def write_ids(ids: pa.Array, path: Path) -> None:
    """One id a line, UTF-8."""
    nothing, line_end = (pa.scalar(text, pa.large_string()) for text in ("", "\n"))
    lines = pc.binary_join_element_wise(ids, nothing, line_end)
    with open(path, "wb") as file:
        # A fresh array: its characters are exactly the lines, one after another.
        file.write(lines.buffers()[2])
        file.flush()
        os.fsync(file.fileno())


def build_checked(world: World, items: ItemTable, plan: Plan, batch_size: int) -> tuple[Pool, Witness]:
    """The pool, and the exact neighbours of a few of its vectors to hold it against."""
    sample = items.sample(max(plan.sample, QUERIES))
    witness = Witness(sample[:: max(1, len(sample) // QUERIES)][:QUERIES], plan.metric)
    with bar(world, len(items), "items", "index") as progress:

        def see(vectors: np.ndarray) -> None:
            witness.see(vectors)
            progress.update(len(vectors))

        return build_pool(items, plan, sample, batch_size, see=see), witness


def write(pool: Pool, witness: Witness, folder: Path) -> tuple[int, float]:
    """Writes both files beside their final places, reads the index back, then renames both.

    Returns:
        Size of the index in bytes, and the witness's recall.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".index-", dir=folder) as staging:
        index, mapping = Path(staging, "faiss_index"), Path(staging, "id_mapping")
        save(pool.index, str(index))
        write_ids(pool.ids, mapping)
        written = load(str(index), shared=True)
        if written.ntotal != len(pool.ids):
            raise RuntimeError(f"{index} holds {written.ntotal} vectors, {len(pool.ids)} were written")
        size, recall = index.stat().st_size, witness.recall(written)
        del written
        replace_together([(mapping, folder / mapping.name), (index, folder / index.name)])
    return size, recall


def main(argv: Sequence[str]) -> None:
    args = make_parser().parse_args(argv)
    only("--reader_type", args.reader_type, "ParquetReader")
    world = World.from_environment()
    if not world.is_first:
        return
    began = time.monotonic()
    folder = local_folder(args.index_output_dir, "--index_output_dir")
    items = ItemTable.open(
        args.embedding_input_path, "--embedding_input_path", args.id_field, args.embedding_field
    )
    if args.index_type in HNSW_TYPES:
        plan = plan_hnsw(args.index_type, len(items), args.hnsw_M, args.hnsw_efConstruction)
    else:
        plan = plan_ivf(args.index_type, len(items), args.ivf_nlist, round(args.ivf_nlist * PROBED) or 1)
    say(world, plan.remark)
    pool, witness = build_checked(world, items, plan, args.batch_size)
    size, recall = write(pool, witness, folder)
    found = f"finds {recall:.1%} of the {NEAREST} exact nearest of {len(witness.queries)} of its own vectors"
    if recall < GOOD_RECALL:
        advice = "HNSW over raw inner products may not reach all; use IVFFlatIP, or vectors of length one"
        say(world, f"warning: the index {found}" + (f"; {advice}" if plan.kind == "HNSWFlatIP" else ""))
    say(
        world,
        f"{len(pool.ids):,} vectors of {pool.index.d} numbers, {plan.kind}"
        + (f" with {plan.nlist} lists" if plan.nlist else "")
        + f", {size / 1e6:.1f} MB, {duration(time.monotonic() - began)}, {found}: {folder / 'faiss_index'}",
    )


if __name__ == "__main__":
    run(MODULE, main)
