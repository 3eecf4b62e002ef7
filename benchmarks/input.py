"""How fast the input is: reading, features in each fg_mode, and all the way to a Batch.

    python benchmarks/input.py                 the tutorial's features on generated clicks
    python benchmarks/input.py --rows 200000 --rounds 3

Every figure stands beside a bare pyarrow scan of the same columns of the same files, measured in the same
run: the rounds of all cases take turns, and the median of each is shown. One core, no loader threads;
seconds are those of the processor, of all threads, so that other work on the machine counts little.
The last line trains and says what share of the time a step waits for its batch.
"""

# ruff: noqa: E402
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TRAIN, CORES = "--train", os.sched_getaffinity(0)
if TRAIN not in sys.argv:
    # Before Arrow starts threads, which keep the cores they began with: one core for both sides.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.datasets.parquet import ParquetTable
from tzrec.features.build import build_features
from tzrec.features.graph import columns_of, compute_all
from tzrec.features.outputs import Dense, Sparse
from tzrec.models.build import tower_features
from tzrec.protos import data_pb2
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.world import World
from tzrec.tools import prepare_data

BATCH = 8192


def scan(files: list[Path], columns: list[str]) -> int:
    """Rows that pyarrow reads when nothing is made of them."""
    rows = 0
    for file in files:
        with pq.ParquetFile(file, memory_map=True) as parquet:
            rows += sum(
                batch.num_rows for batch in parquet.iter_batches(65536, columns=columns, use_threads=False)
            )
    return rows


def batches(table: ParquetTable) -> Iterator[pa.RecordBatch]:
    for batch in table.batches(0, table.num_rows):
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)


class Case:
    """One fg_mode on its files: what is timed, by name."""

    def __init__(self, name: str, pipeline: EasyRecConfig, folder: Path) -> None:
        self.name = name
        pipeline = _copy(pipeline)
        pipeline.data_config.fg_mode = data_pb2.FgMode.Value(name)
        pipeline.data_config.num_workers = 0
        pipeline.data_config.ClearField("label_fields")
        pipeline.data_config.batch_size = BATCH
        towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
        features = [*towers.user, *towers.item]
        columns = columns_of(features)
        files = sorted(folder.glob("*.parquet"))
        table = ParquetTable(f"{folder}/*.parquet", columns)
        alone = _copy(pipeline)
        alone.data_config.ClearField("negative_sampler")
        loader = build_loader(alone.data_config, towers.layout, World(), f"{folder}/*.parquet")
        self.timed: dict[str, Callable[[], int]] = {
            "bare scan": lambda: scan(files, columns),
            "reading": lambda: sum(batch.num_rows for batch in batches(table)),
            "reading and features": lambda: self._features(table, features),
            "whole path": lambda: sum(batch.rows for batch in loader.batches()),
        }
        if name in ("FG_NORMAL", "FG_DAG"):
            # The attributes of negatives are source values, so they go with these modes.
            with_negatives = build_loader(pipeline.data_config, towers.layout, World(), f"{folder}/*.parquet")
            self.timed["with negatives"] = lambda: sum(batch.rows for batch in with_negatives.batches())

    @staticmethod
    def _features(table: ParquetTable, features: list) -> int:
        rows = 0
        for batch in batches(table):
            compute_all(features, dict(zip(batch.schema.names, batch.columns, strict=True)))
            rows += batch.num_rows
        return rows


def _copy(pipeline: EasyRecConfig) -> EasyRecConfig:
    copied = EasyRecConfig()
    copied.CopyFrom(pipeline)
    return copied


def encode(pipeline: EasyRecConfig, source: Path, target: Path, bucketized: bool) -> None:
    """The table that FG_NONE (ids) or FG_BUCKETIZE (values) reads, in columns named after features."""
    features = build_features(pipeline.feature_configs, pipeline.data_config)
    target.mkdir()
    for file in sorted(source.glob("*.parquet")):
        table = pq.read_table(file)
        columns = {name: table[name].combine_chunks() for name in columns_of(features)}
        made = {f.name: columns[f.source.columns[0]] for f in features}
        if bucketized:
            for name, computed in compute_all(features, columns).items():
                if isinstance(computed, Dense):
                    made[name] = pa.array(computed.values[:, 0])
                elif isinstance(computed, Sparse):
                    offsets = np.concatenate([[0], np.cumsum(computed.lengths)]).astype(np.int32)
                    one_each = (computed.lengths == 1).all()
                    made[name] = (
                        pa.array(computed.values)
                        if one_each
                        else pa.ListArray.from_arrays(offsets, computed.values)
                    )
        pq.write_table(pa.table(made), target / file.name, row_group_size=100_000)


def show(case: Case, seconds: dict[str, list[float]], rows: int) -> None:
    floor = statistics.median(seconds["bare scan"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"| {case.name} | {name} | {rows / middle / 1e6:.2f} | {floor / middle:.2f} |", flush=True)


def waiting(pipeline: EasyRecConfig, steps: int) -> None:
    """Trains some steps on the tutorial's configuration and shows what share of the time they wait."""
    from tzrec.runtime.processes import leave_group
    from tzrec.training.build import Session

    session = Session.begin(pipeline, World())
    loader = build_loader(pipeline.data_config, session.towers.layout, World(), pipeline.train_input_path)
    source = iter(loader.batches())
    waited = worked = 0.0
    for step in range(min(steps, loader.steps)):
        begin = time.perf_counter()
        batch = next(source)
        got = time.perf_counter()
        session.optimizers.begin(step, 0)
        _, logits = session.model(batch)
        total, weight = session.objective.loss(logits, batch)
        (total / weight).backward()
        session.optimizers.end()
        if step >= 3:  # The first steps allocate.
            waited, worked = waited + got - begin, worked + time.perf_counter() - got
    leave_group()
    share = waited / (waited + worked)
    print(
        f"\nstep: {worked / (steps - 3) * 1e3:.0f} ms with its batch, waiting for it {share:.1%} of the time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of the training at the end; 0 for none")
    parser.add_argument(TRAIN, help=argparse.SUPPRESS)  # The training at the end, in a process of its own.
    arguments = parser.parse_args()
    if arguments.train:
        waiting(prepare(arguments.train).message, arguments.steps)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        prepare_data.main(["demo", "--output_dir", str(root / "demo"), "--train_rows", str(arguments.rows)])
        pipeline = prepare(str(root / "demo" / "pipeline.config")).message
        source = root / "demo" / "train"
        encode(pipeline, source, root / "none", bucketized=True)
        encode(pipeline, source, root / "bucketize", bucketized=False)
        cases = [
            Case("FG_NONE", pipeline, root / "none"),
            Case("FG_BUCKETIZE", pipeline, root / "bucketize"),
            Case("FG_NORMAL", pipeline, source),
            Case("FG_DAG", pipeline, source),
        ]
        print("\n| fg_mode | what | million rows per CPU second | of the bare scan |\n|---|---|---|---|")
        for case in cases:
            seconds: dict[str, list[float]] = {what: [] for what in case.timed}
            for round_ in range(arguments.rounds + 1):
                for what, run in case.timed.items():
                    run()  # What ran before leaves the memory pool and the caches in its own state.
                    begin = time.process_time()
                    rows = run()
                    if round_:  # The first round warms files and memory.
                        seconds[what].append(time.process_time() - begin)
            show(case, seconds, rows)
        if arguments.steps:
            config = str(root / "demo" / "pipeline.config")
            command = [sys.executable, __file__, TRAIN, config, "--steps", str(arguments.steps)]
            subprocess.run(command, check=True, preexec_fn=lambda: os.sched_setaffinity(0, CORES))


if __name__ == "__main__":
    main()
