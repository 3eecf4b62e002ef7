"""Hit rate of user vectors against the item pool.

    OMP_NUM_THREADS=16 torchrun --master_addr=localhost --master_port=32555 \\
        --nnodes=1 --nproc-per-node=2 --node_rank=0 \\
        -m tzrec.tools.hitrate \\
        --user_gt_input experiments/dssm_taobao_local/user_emb/\\*.parquet \\
        --item_embedding_input experiments/dssm_taobao_local/item_emb/\\*.parquet \\
        --item_id_field adgroup_id --request_id_field user_id --gt_items_field adgroup_id

One process: `python -m tzrec.tools.hitrate` with the same flags. Vectors are lists of numbers
or text joined by "," (several vectors: by ";"). The number does not depend on the ranks.
"""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import faiss
import pyarrow.parquet as pq

from tzrec.datasets.files import expand
from tzrec.retrieval.evaluation import METRICS, Evaluation, totals
from tzrec.retrieval.flags import only, positive, positives, words
from tzrec.retrieval.index import FLAT_TYPES, IVF_TYPES, plan_flat, plan_ivf
from tzrec.retrieval.items import ItemTable
from tzrec.retrieval.page import render
from tzrec.retrieval.pool import Pool, Search, write_pool
from tzrec.retrieval.sharing import build_threads, once_a_host
from tzrec.retrieval.users import Retrieval, UserTable
from tzrec.runtime.command import Parser, run
from tzrec.runtime.errors import UserError
from tzrec.runtime.output import StagedFile, StagedFolder, finish_together
from tzrec.runtime.places import refuse_overlap
from tzrec.runtime.processes import barrier, leave_group
from tzrec.runtime.progress import bar, say
from tzrec.runtime.world import World

MODULE = "tzrec.tools.hitrate"
TYPES = (*IVF_TYPES, *FLAT_TYPES)


def make_parser() -> Parser:
    parser = Parser(MODULE, __doc__ or "")
    add = parser.add_argument
    add(
        "--user_gt_input",
        required=True,
        help="table of user vectors and ground truth: file, folder, glob, URL",
    )
    add("--item_embedding_input", required=True, help="table of item ids and vectors")
    add("--total_hitrate_output", help="new folder for a table with the column hitrate")
    add(
        "--hitrate_details_output",
        help="new folder for a table id | topk_ids | topk_dists | hitrate | hit_ids, row for row",
    )
    add("--report", help="new file for a page with charts and the rows that missed worst, such as a.html")
    add("--batch_size", type=positive, default=1024, help="rows searched at once (1024)")
    add(
        "--index_type",
        choices=TYPES,
        default=TYPES[0],
        help="inner product or distance, in the probed lists or (Flat) in all items (IVFFlatIP)",
    )
    add("--top_k", type=positives, default=[200], help="items retrieved; several as 50,100,200 (200)")
    add("--ivf_nlist", type=positive, default=1000, help="lists of the index, at most (1000)")
    add(
        "--ivf_nprobe", type=positive, default=800, help="lists searched; of fewer lists the same share (800)"
    )
    add("--item_id_field", default="item_id", help="column of item ids (item_id)")
    add("--item_embedding_field", default="item_tower_emb", help="column of item vectors (item_tower_emb)")
    add("--request_id_field", default="request_id", help="column of request ids (request_id)")
    add(
        "--gt_items_field",
        default="gt_items",
        help="column of ground truth: an id, ids by ',', a list (gt_items)",
    )
    add("--user_embedding_field", default="user_tower_emb", help="column of user vectors (user_tower_emb)")
    add("--exclude_items_field", help="column of items that a row must not be given, as the ground truth")
    add("--num_interests", type=positive, default=1, help="vectors a user row may hold (1)")
    add("--num_interests_field", help="column that says how many of a row's vectors count")
    add(
        "--topk_across_interests",
        action="store_true",
        help="the best top_k of all interests together; otherwise top_k for each interest",
    )
    add("--metrics", type=words(METRICS), default=[], help=f"also: {', '.join(METRICS)}, or all")
    add(
        "--popularity_input",
        help="table of interactions, such as the training table, that says what is popular",
    )
    add("--popularity_field", help="its column of item ids (that of --item_id_field)")
    add("--shard_items", type=positive, help="items searched at once (as many as 2 GiB of vectors hold)")
    add("--reader_type", help="ParquetReader")
    add("--writer_type", help="ParquetWriter")
    return parser


def check(args: Namespace) -> None:
    """What flags mean together."""
    only("--reader_type", args.reader_type, "ParquetReader")
    only("--writer_type", args.writer_type, "ParquetWriter")
    if "popular" in args.metrics and not args.popularity_input:
        raise UserError("--metrics popular: give --popularity_input, a table that says what is popular")
    if args.popularity_field and not args.popularity_input:
        raise UserError("--popularity_field: there is no --popularity_input to read it from")
    if args.popularity_input and not (args.report or "popular" in args.metrics):
        raise UserError("--popularity_input: nothing uses it; give --metrics popular or --report")
    several = args.num_interests > 1 and not args.topk_across_interests
    if several and {"ndcg", "mrr"} & set(args.metrics):
        raise UserError(
            "--metrics: ndcg and mrr need one ranked list a row; with several interests give "
            "--topk_across_interests"
        )


def prepare_pool(world: World, args: Namespace) -> Pool:
    """The items, ready to be searched, written once a host. Collective."""
    items = ItemTable.open(
        args.item_embedding_input, "--item_embedding_input", args.item_id_field, args.item_embedding_field
    )
    if args.index_type in FLAT_TYPES:
        plan = plan_flat(args.index_type, len(items))
    else:
        plan = plan_ivf(args.index_type, len(items), args.ivf_nlist, args.ivf_nprobe)
    how = Search(plan, args.shard_items or 0)
    say(world, f"{plan.remark}; {faiss.omp_get_max_threads()} threads a process search")

    def write(folder: Path) -> None:
        with bar(world, len(items), "items", "index") as progress:
            write_pool(folder, items, how, build_threads(world), progress.update)

    pool = once_a_host(world, write)
    say(world, how.remark(len(pool), pool.dim))
    if pool.warning:
        say(world, f"{pool.warning}; equal scores are told apart at random, by a fixed seed")
    return pool


def main(argv: Sequence[str]) -> None:
    args = make_parser().parse_args(argv)
    check(args)
    world = World.from_environment()
    total_out, details_out = (
        StagedFolder(path, flag, world) if path is not None else None
        for path, flag in (
            (args.total_hitrate_output, "--total_hitrate_output"),
            (args.hitrate_details_output, "--hitrate_details_output"),
        )
    )
    page = StagedFile(args.report, "--report", world) if args.report is not None else None
    outputs = [output for output in (details_out, total_out, page) if output is not None]
    refuse_overlap(outputs)
    if args.popularity_input:
        expand(args.popularity_input, (".parquet",), "--popularity_input")
    users = UserTable.open(
        args.user_gt_input,
        "--user_gt_input",
        args.request_id_field,
        args.gt_items_field,
        args.user_embedding_field,
        args.num_interests,
        args.num_interests_field,
        args.exclude_items_field,
    )
    how = Retrieval(
        args.top_k[-1], args.batch_size, args.topk_across_interests, every_row=details_out is not None
    )
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(output)
        pool = prepare_pool(world, args)
        evaluation = Evaluation(world, users, pool, how, args.top_k)
        evaluation.prepare(
            args.metrics,
            args.popularity_input,
            args.popularity_field or args.item_id_field,
            breakdown=page is not None,
        )
        result = evaluation.run(details_out)
        if not result.tally.items:
            raise UserError(
                f"--user_gt_input: none of {users.table.num_rows} rows has ground truth in column "
                f'"{args.gt_items_field}"; see --gt_items_field'
            )
        if world.is_first:
            if total_out is not None:
                with total_out.writing():
                    pq.write_table(totals(result), total_out.path / "part-0.parquet")
            if page is not None:
                text = render(evaluation.report(result, args.index_type))
                with page.writing():
                    page.path.write_text(text, encoding="utf-8")
        finish_together(outputs)
    for line in result.lines():
        say(world, line)
    if world.size > 1:
        barrier(world)
        leave_group()


if __name__ == "__main__":
    run(MODULE, main)
