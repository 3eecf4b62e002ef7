"""Rows a second of predict beside the scripted model alone, and the wall time of whole commands.

    make bench-predict
    python benchmarks/predict.py --work_dir .bench-predict

Demo data of 100,000 items and 50,000 users, a short training of the tutorial's towers, an export; all
kept in --work_dir for another run. Then, for each tower, in turn: the model alone on tensors that are
ready, in as many threads; and predict from the table to the file, in this process. At the end the
command itself with two processes, start-up included.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import torch

from tzrec.datasets.batch import serving_tensors
from tzrec.datasets.build import compute_all
from tzrec.datasets.parquet import ParquetTable
from tzrec.retrieval.flags import positive
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.world import World
from tzrec.serving.bundle import Bundle
from tzrec.serving.predictor import Predictor

EDITS = {
    "train_config.num_epochs": 1,
    "model_config.dssm.user_tower.mlp.hidden_units": [512, 256, 128],
    "model_config.dssm.item_tower.mlp.hidden_units": [512, 256, 128],
}
TOWERS = {"item": ("item", "adgroup_id"), "user": ("eval", "user_id,adgroup_id")}


def command(module: str, *words: object, processes: int = 1) -> float:
    """Wall time of a whole command, seconds."""
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    began = time.perf_counter()
    done = subprocess.run([*launch, module, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


def prepare(work: Path, items: int, users: int) -> Path:
    """The exported towers; made unless they are there."""
    export = work / "export"
    if not export.exists():
        shutil.rmtree(work, ignore_errors=True)
        sizes = ("--items", items, "--users", users, "--eval_users", users, "--train_rows", users)
        command("tzrec.tools.prepare_data", "demo", "--output_dir", work / "data", *sizes)
        command(
            "tzrec.train_eval",
            *("--pipeline_config_path", work / "data" / "pipeline.config", "--model_dir", work / "model"),
            *("--edit_config_json", json.dumps(EDITS)),
        )
        command(
            "tzrec.export",
            *("--pipeline_config_path", work / "model" / "pipeline.config", "--export_dir", export),
        )
    return export


def compare(work: Path, tower: str, batch_size: int, threads: int, repeats: int) -> None:
    """One line of the table."""
    table, reserved = TOWERS[tower]
    bundle = Bundle.open(str(work / "export" / tower), torch.device("cpu"))
    paths = str(work / "data" / table)
    rows = ParquetTable(paths)
    ready = [
        serving_tensors(
            compute_all(bundle.features, dict(zip(batch.schema.names, batch.columns, strict=True)))
        )
        for batch in rows.batches(0, rows.num_rows, batch_size)
    ]

    def alone(tensors: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            bundle.model(tensors, bundle.device)

    times: dict[str, list[float]] = {"alone": [], "predict": []}
    for _ in range(repeats):
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(alone, ready))
        times["alone"].append(time.perf_counter() - began)
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)
        predictor = Predictor(
            bundle, paths, reserved.split(","), bundle.outputs, World(), batch_size, threads
        )
        began = time.perf_counter()
        with StagedFolder(str(out), "--out", World()) as folder:
            predictor.run(folder)
        times["predict"].append(time.perf_counter() - began)
    shutil.rmtree(work / "out")
    ratio = median(floor / whole for floor, whole in zip(*times.values(), strict=True))
    floor, whole = (rows.num_rows / median(took) for took in times.values())
    print(f"| {tower} | {rows.num_rows:,} | {whole:,.0f} | {floor:,.0f} | {ratio:.2f} |", flush=True)


def whole_command(work: Path, tower: str, repeats: int) -> None:
    table, reserved = TOWERS[tower]
    took = []
    for _ in range(repeats):
        shutil.rmtree(work / "out", ignore_errors=True)
        took.append(
            command(
                "tzrec.predict",
                *("--scripted_model_path", work / "export" / tower),
                *("--predict_input_path", work / "data" / table, "--predict_output_path", work / "out"),
                *("--reserved_columns", reserved),
                processes=2,
            )
        )
    shutil.rmtree(work / "out")
    print(f"| {tower} | {min(took):.1f}-{max(took):.1f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work_dir", type=Path, default=Path(".bench-predict"))
    parser.add_argument("--items", type=positive, default=100_000)
    parser.add_argument("--users", type=positive, default=50_000)
    parser.add_argument("--batch_size", type=positive, default=1024)
    parser.add_argument("--repeats", type=positive, default=5)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    prepare(args.work_dir, args.items, args.users)
    # One thread within a product, as many products side by side as there are cores.
    torch.set_num_threads(1)
    print(f"{' '.join(sys.argv)}: {cores} cores, batch {args.batch_size}, {cores} threads")
    print("| tower | rows | predict, rows/s | the model alone, rows/s | ratio |\n|---|---|---|---|---|")
    for tower in TOWERS:
        compare(args.work_dir, tower, args.batch_size, cores, args.repeats)
    print("\n| tower | whole command, two processes |\n|---|---|")
    for tower in TOWERS:
        whole_command(args.work_dir, tower, min(args.repeats, 3))


if __name__ == "__main__":
    main()
