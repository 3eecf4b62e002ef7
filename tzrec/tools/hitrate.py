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
from pathlib import Path

import faiss
import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.datasets.staging import StagedFolder
from tzrec.retrieval.flags import only, positive
from tzrec.retrieval.hit_rate import Tally
from tzrec.retrieval.index import IVF_TYPES, plan_ivf
from tzrec.retrieval.items import ItemTable, Pool, build_pool
from tzrec.retrieval.outputs import apart, local_folder
from tzrec.retrieval.sharing import agreed, build_threads, once_a_host
from tzrec.retrieval.users import Retrieval, Scored, UserTable, details_schema, score
from tzrec.runtime.command import Parser, run
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import barrier, gather, leave_group
from tzrec.runtime.progress import bar, say
from tzrec.runtime.world import World

MODULE = "tzrec.tools.hitrate"


def make_parser() -> Parser:
    parser = Parser(MODULE, __doc__ or "")
    add = parser.add_argument
    add(
        "--user_gt_input",
        required=True,
        help="table of user vectors and ground truth: file, folder, glob, URL",
    )
    add("--item_embedding_input", required=True, help="table of item ids and vectors")
    add("--total_hitrate_output", help="new folder for a table with the one column hitrate")
    add(
        "--hitrate_details_output",
        help="new folder for a table id | topk_ids | topk_dists | hitrate | hit_ids, row for row",
    )
    add("--batch_size", type=positive, default=1024, help="rows searched at once (1024)")
    add("--index_type", choices=IVF_TYPES, default=IVF_TYPES[0], help="inner product or distance (IVFFlatIP)")
    add("--top_k", type=positive, default=200, help="items retrieved (200)")
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
    add("--num_interests", type=positive, default=1, help="vectors a user row may hold (1)")
    add("--num_interests_field", help="column that says how many of a row's vectors count")
    add(
        "--topk_across_interests",
        action="store_true",
        help="the best top_k of all interests together; otherwise top_k for each interest",
    )
    add("--reader_type", help="ParquetReader")
    add("--writer_type", help="ParquetWriter")
    return parser


class Details:
    """One rank's part of the details, written while batches come."""

    def __init__(self, path: Path, schema: pa.Schema, ids: pa.Array) -> None:
        self.writer = pq.ParquetWriter(path, schema)
        self.schema = schema
        self.ids = ids

    def write(self, scored: Scored) -> None:
        self.writer.write_batch(scored.details(self.ids).cast(self.schema))

    def close(self) -> None:
        self.writer.close()


def prepare_pool(world: World, args: Namespace) -> Pool:
    """The index of the items, built once a host. Collective."""
    items = ItemTable.open(
        args.item_embedding_input, "--item_embedding_input", args.item_id_field, args.item_embedding_field
    )
    plan = plan_ivf(args.index_type, len(items), args.ivf_nlist, args.ivf_nprobe)
    say(world, f"{plan.remark}; {faiss.omp_get_max_threads()} threads a process search")

    def build() -> Pool:
        with bar(world, len(items), "items", "index") as progress:
            return build_pool(
                items,
                plan,
                items.sample(plan.sample),
                threads=build_threads(world),
                see=lambda vectors: progress.update(len(vectors)),
            )

    return once_a_host(world, build)


def measure(
    world: World, users: UserTable, pool: Pool, how: Retrieval, details: StagedFolder | None
) -> Tally:
    """The tally of all ranks' rows; each writes its part of the details. Collective."""
    start, stop = world.share(users.table.num_rows)

    def own_rows() -> Tally:
        part = None
        if details is not None:
            path = details.path / f"part-{world.rank}.parquet"
            part = Details(path, details_schema(users), pool.ids)
        try:
            title = "hit rate" if world.size == 1 else f"hit rate (1 of {world.size} shares)"
            with bar(world, stop - start, "rows", title) as progress:
                return score(users, start, stop, pool, how, part.write if part else None, progress.update)
        finally:
            if part is not None:
                part.close()

    return sum(gather(world, agreed(world, own_rows)), Tally())


def report(world: World, total: Tally, top_k: int) -> None:
    if total.absent:
        say(world, f"{total.absent:,} of {total.items:,} ground-truth items are not in the pool: never a hit")
    say(
        world,
        f"Total HitRate@{top_k}: {total.rate:.4f} (hits {total.hits} of {total.items} ground-truth items, "
        f"{total.rows} rows, {total.without} without ground truth)",
    )


def main(argv: Sequence[str]) -> None:
    args = make_parser().parse_args(argv)
    only("--reader_type", args.reader_type, "ParquetReader")
    only("--writer_type", args.writer_type, "ParquetWriter")
    world = World.from_environment()
    total_out, details_out = (
        StagedFolder(str(local_folder(path, flag)), flag, world) if path else None
        for path, flag in (
            (args.total_hitrate_output, "--total_hitrate_output"),
            (args.hitrate_details_output, "--hitrate_details_output"),
        )
    )
    outputs = [folder for folder in (details_out, total_out) if folder is not None]
    apart(outputs)
    users = UserTable.open(
        args.user_gt_input,
        "--user_gt_input",
        args.request_id_field,
        args.gt_items_field,
        args.user_embedding_field,
        args.num_interests,
        args.num_interests_field,
    )
    how = Retrieval(args.top_k, args.index_type.endswith("IP"), args.batch_size, args.topk_across_interests)
    pool = prepare_pool(world, args)
    try:
        for folder in outputs:
            folder.begin()
        total = measure(world, users, pool, how, details_out)
        if not total.items:
            raise UserError(
                f"--user_gt_input: none of {users.table.num_rows} rows has ground truth in column "
                f'"{args.gt_items_field}"; see --gt_items_field'
            )
        if world.is_first and total_out is not None:
            pq.write_table(pa.table({"hitrate": [total.rate]}), total_out.path / "part-0.parquet")
        for folder in outputs:
            folder.finish()
    except BaseException:
        if world.is_first:
            for folder in outputs:
                folder.give_up()
        raise
    report(world, total, args.top_k)
    if world.size > 1:
        barrier(world)
        leave_group()


if __name__ == "__main__":
    run(MODULE, main)
