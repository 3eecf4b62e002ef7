"""Index of the item pool, for the server that runs the user tower.

    python -m tzrec.tools.create_faiss_index \\
        --embedding_input_path experiments/dssm_taobao_local/item_emb/\\*.parquet \\
        --index_output_dir experiments/dssm_taobao_local/export/user \\
        --id_field adgroup_id --embedding_field item_tower_emb

Writes `faiss_index` (faiss.read_index loads it) and `id_mapping` (one id a line, line i is
the id of vector i) into the folder; what stood there under these names is replaced at the end.
"""

import re
import time
from argparse import Namespace
from collections.abc import Sequence

from tzrec.retrieval.flags import only, positive
from tzrec.retrieval.index import (
    FLAT_TYPES,
    HNSW_TYPES,
    IVF_TYPES,
    METRICS,
    NAMED_TYPES,
    Plan,
    plan_factory,
    plan_flat,
    plan_hnsw,
    plan_ivf,
)
from tzrec.retrieval.items import ItemTable
from tzrec.retrieval.witness import NEAREST
from tzrec.retrieval.writing import INDEX, create
from tzrec.runtime.command import Parser, run
from tzrec.runtime.errors import UserError
from tzrec.runtime.output import StagedFiles
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
    add("--batch_size", type=positive, default=1024, help="rows added at once (1024)")
    add(
        "--index_type",
        default=IVF_TYPES[0],
        help=f"{', '.join(NAMED_TYPES)}, or the language of faiss' index factory, such as IVF4096,PQ16 or "
        "SQ8 (IVFFlatIP)",
    )
    add("--metric", choices=list(METRICS), help="of an index in faiss' language: inner product or L2 (IP)")
    add("--ivf_nlist", type=positive, default=1000, help="lists of an IVFFlat index, at most (1000)")
    add("--hnsw_M", type=positive, default=32, help="links a vector of an HNSWFlat index (32)")
    add("--hnsw_efConstruction", type=positive, default=200, help="candidates when HNSW adds a vector (200)")
    add("--id_field", default="item_id", help="column of item ids (item_id)")
    add("--embedding_field", default="item_tower_emb", help="column of item vectors (item_tower_emb)")
    add("--reader_type", help="ParquetReader")
    return parser


def make_plan(args: Namespace, items: ItemTable) -> Plan:
    """What the flags ask for, within what the items can train.

    Raises:
        UserError: a type that is no index, a metric beside a type that has one.
    """
    kind, count = args.index_type, len(items)
    # The same index in faiss' language: it gets what is done for the named one.
    plain_graph = re.fullmatch(r"HNSW(\d+)(,Flat)?", kind)
    if plain_graph and int(plain_graph[1]):
        kind, args.hnsw_M = f"HNSWFlat{args.metric or 'IP'}", int(plain_graph[1])
    elif kind in NAMED_TYPES and args.metric:
        raise UserError(f"--metric: the type {kind} has its metric in its name; leave the flag out")
    if kind in FLAT_TYPES:
        return plan_flat(kind, count)
    if kind in HNSW_TYPES:
        return plan_hnsw(kind, count, args.hnsw_M, args.hnsw_efConstruction)
    if kind in IVF_TYPES:
        return plan_ivf(kind, count, args.ivf_nlist, round(args.ivf_nlist * PROBED) or 1)
    return plan_factory(
        kind, args.metric or "IP", count, items.sample(1).shape[1], PROBED, args.hnsw_efConstruction
    )


def main(argv: Sequence[str]) -> None:
    args = make_parser().parse_args(argv)
    only("--reader_type", args.reader_type, "ParquetReader")
    world = World.from_environment()
    if not world.is_first:
        return
    began = time.monotonic()
    with StagedFiles(args.index_output_dir, "--index_output_dir", World()) as folder:
        items = ItemTable.open(
            args.embedding_input_path, "--embedding_input_path", args.id_field, args.embedding_field
        )
        plan = make_plan(args, items)
        say(world, plan.remark)
        with bar(world, len(items), "items", "index") as progress:
            made = create(items, plan, folder, args.batch_size, progress.update)
    for line in (made.remark, made.warning):
        if line:
            say(world, line)
    found = f"finds {made.recall:.1%} of the {NEAREST} exact nearest of {made.queries} queries"
    if made.recall < GOOD_RECALL:
        say(
            world,
            f"warning: the index {found}; IVFFlatIP and IVFFlatL2 find more, or vectors of length one help",
        )
    say(
        world,
        f"{made.items:,} vectors of {made.dim} numbers, {plan.kind}"
        + (f" with {plan.nlist} lists" if plan.nlist else "")
        + f", {made.size / 1e6:.1f} MB, {duration(time.monotonic() - began)}, {found}, "
        f"{made.latency.median:.2f} ms a query on one thread (99 % within {made.latency.worst:.2f} ms): "
        f"{folder.final / INDEX}",
    )


if __name__ == "__main__":
    run(MODULE, main)
