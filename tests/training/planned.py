"""Trains in several processes on the same rows, for tests of sharding.

    python -m tests.training.planned JOBS.json

JOBS.json holds a list of `Job`s as dictionaries. They run one after the other in forks of this process,
which has imported everything and computed nothing: a fork costs no start-up.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tests.small import command
from tzrec.config import prepare
from tzrec.datasets.batch import USER, Batch, Jagged, Layout
from tzrec.datasets.build import build_loader
from tzrec.runtime.errors import UserError
from tzrec.runtime.processes import gather
from tzrec.runtime.world import World
from tzrec.training.build import Session
from tzrec.training.checkpoint import Facts, Position
from tzrec.training.placement import describe_plan, show_plan
from tzrec.training.replicas import check_replicas
from tzrec.training.saving import Saver
from tzrec.training.state import restore, state_of
from tzrec.training.step import Stepper


@dataclass
class Job:
    """Some steps of training.

    Attributes:
        config: pipeline configuration; its batch_size counts the rows of all processes together.
        out: folder for `model.ckpt-{steps}` and `result.json`.
        processes: how many.
        hosts: how many that they pretend to be divided over.
        edits: of the configuration.
        start: checkpoint to begin with.
        steps: how many.
        shares: of each step (the last counts on), the share of the rows that each rank gets; equal ones
            when empty.
    """

    config: str
    out: str
    processes: int = 1
    hosts: int = 1
    edits: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    steps: int = 3
    shares: Sequence[Sequence[float]] = ()


def run_all(jobs: Sequence[Job], folder: Path) -> list[dict[str, Any]]:
    """The results of all jobs: `losses` of each step over all ranks, `plan`, `told` or `error`."""
    listed = folder / "jobs.json"
    listed.write_text(json.dumps([asdict(job) for job in jobs]))
    done = command("tests.training.planned", listed, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((Path(job.out) / "result.json").read_text()) for job in jobs]


def share_of(batch: Batch, layout: Layout, begin: int, end: int) -> Batch:
    """The rows from `begin` to `end`, against the same negatives as the whole batch."""
    of_users = torch.zeros(batch.rows, dtype=torch.bool)
    of_users[begin:end] = True
    of_items = torch.cat([of_users, torch.ones(batch.item_rows - batch.rows, dtype=torch.bool)])
    users = {feature.name for feature in layout.user_features}

    def jagged(ids: Jagged, rows: Tensor) -> Jagged:
        if len(ids.lengths) % len(rows):  # Looked up without rows: one row more.
            return ids
        kept = rows.repeat(len(ids.lengths) // len(rows))
        values = torch.repeat_interleave(kept, ids.lengths)
        weights = None if ids.weights is None else ids.weights[values]
        return Jagged(ids.values[values], ids.lengths[kept], weights)

    def rows_of(name: str) -> Tensor:
        return of_users if name in users else of_items

    def elements_of(name: str) -> Tensor:
        rows = rows_of(name)
        return torch.repeat_interleave(rows, batch.lengths[name]) if name in batch.lengths else rows

    masked = batch.candidates.masked
    if masked is not None:
        masked = masked[:, (masked[0] >= begin) & (masked[0] < end)]
        masked = torch.stack([masked[0] - begin, masked[1]])
    return Batch(
        rows=end - begin,
        item_rows=batch.item_rows - batch.rows + end - begin,
        ids={place: jagged(ids, of_users if place == USER else of_items) for place, ids in batch.ids.items()},
        dense={name: values[elements_of(name)] for name, values in batch.dense.items()},
        lengths={name: values[rows_of(name)] for name, values in batch.lengths.items()},
        segments={name: values[elements_of(name)] for name, values in batch.segments.items()},
        candidates=replace(batch.candidates, masked=masked),
    )


def work(job: Job, world: World) -> None:
    """One rank of a job."""
    pipeline = prepare(job.config, edits=json.dumps(job.edits)).message
    out = Path(job.out)
    try:
        session = Session.begin(pipeline, world)
    except UserError as error:
        if world.is_first:
            (out / "result.json").write_text(json.dumps({"error": str(error)}))
        return
    layout = session.towers.layout
    if job.start:
        restore(Path(job.start), session.model, session.optimizers)
    stepper = Stepper(session.model, session.optimizers, session.objective, session.clip)
    loader = build_loader(pipeline.data_config, layout, World(), pipeline.train_input_path)
    losses = []
    session.model.train()
    for step, batch in enumerate(loader.batches(stop=job.steps)):
        equal = [1 / world.size] * world.size
        shares = job.shares[min(step, len(job.shares) - 1)] if job.shares else equal
        begin, end = (round(batch.rows * sum(shares[:rank])) for rank in (world.rank, world.rank + 1))
        done = stepper([share_of(batch, layout, begin, end)], step, 0)
        parts = gather(world, (float(done.loss), float(done.weight)))
        losses.append(sum(loss for loss, _ in parts) / sum(weight for _, weight in parts))
    check_replicas(session.model, world)
    saver = Saver(out, world)
    plan = describe_plan(session.model)
    saver.begin(state_of(session.model, session.optimizers), Facts(Position(job.steps), plan=plan))
    saver.finish()
    if world.is_first:
        result = {"losses": losses, "plan": plan, "told": show_plan(plan)}
        (out / "result.json").write_text(json.dumps(result))


def child(job: Job, world: World) -> int:
    """Runs a rank; returns its exit status."""
    try:
        torch.set_num_threads(1)
        # TorchRec and the cache ask the environment.
        os.environ |= {
            "RANK": str(world.rank),
            "WORLD_SIZE": str(world.size),
            "LOCAL_RANK": str(world.local_rank),
            "LOCAL_WORLD_SIZE": str(world.local_size),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": "1",
        }
        store = dist.FileStore(str(Path(job.out) / "store"), world.size)
        dist.init_process_group("gloo", store=store, rank=world.rank, world_size=world.size)
        work(job, world)
        dist.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main(path: str) -> int:
    for job in (Job(**each) for each in json.loads(Path(path).read_text())):
        Path(job.out).mkdir(parents=True)
        children = []
        for rank in range(job.processes):
            sys.stdout.flush()
            number = os.fork()
            if not number:
                local = job.processes // job.hosts
                os._exit(child(job, World(rank, job.processes, rank % local, local)))
            children.append(number)
        if any([os.waitpid(number, 0)[1] for number in children]):
            print(f"failed: {job}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
