"""Speed of training with the tutorial's towers on the demo data beside its floor, these towers alone.

    python benchmarks/training.py --work_dir .bench-train --rounds 3

For each number of processes and each precision, in turn and `--rounds` times: the floor, then the
command. Other work on the machine then slows both, so ratios are steadier than rates. The floor is
forward and backward of both towers on random inputs in plain torch, in as many processes at once,
with as many threads and the same settings (oneDNN where it is exact, malloc that keeps what is
freed); no tables, no data, no scores, no loss, no optimizer, no communication. Medians over the
rounds are printed as a Markdown table, and each round as it ends.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PRECISIONS = {"FP32": "", "BF16": "BF16"}
# As in the tutorial; the demo's own configuration takes smaller batches and towers.
BATCH, NEGATIVES = 8192, 1024
SIZES = {
    "data_config.batch_size": BATCH,
    "data_config.negative_sampler.num_sample": NEGATIVES,
    "model_config.dssm.user_tower.mlp.hidden_units": [512, 256, 128],
    "model_config.dssm.item_tower.mlp.hidden_units": [512, 256, 128],
}


@dataclass
class Run:
    """One run of the command: rows a second in all, seconds to the first step, peak MB of all processes."""

    rate: float
    first_step: float
    memory: float
    loss: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work_dir", type=Path, default=Path(".bench-train"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25, help="of each run; the first 5 are not timed")
    parser.add_argument("--floor", choices=PRECISIONS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.floor:
        floor(flags.work_dir / "data/pipeline.config", flags.floor, flags.steps)
        return
    if not (flags.work_dir / "data").exists():
        subprocess.run(
            [
                sys.executable,
                "-m",
                "tzrec.tools.prepare_data",
                "demo",
                "--output_dir",
                flags.work_dir / "data",
            ],
            check=True,
        )
    runs: dict[tuple[int, str], list[tuple[float, Run]]] = {}
    for _ in range(flags.rounds):
        for processes in (1, 2):
            for precision in PRECISIONS:
                found = floors(flags, processes, precision), train(flags, processes, precision)
                runs.setdefault((processes, precision), []).append(found)
                print(processes, precision, *found, f"load {os.getloadavg()[0]:.1f}", flush=True)
    print("\n| processes | precision | rows/s | floor rows/s | ratio | first step s | memory MB | loss |")
    print("|---|---|---|---|---|---|---|---|")
    middle = statistics.median
    for (processes, precision), pairs in runs.items():
        print(
            f"| {processes} | {precision} | {middle(r.rate for _, r in pairs):.0f} "
            f"| {middle(f for f, _ in pairs):.0f} | {middle(r.rate / f for f, r in pairs):.2f} "
            f"| {middle(r.first_step for _, r in pairs):.1f} | {middle(r.memory for _, r in pairs):.0f} "
            f"| {pairs[-1][1].loss:.4f} |"
        )


def floor(config: Path, precision: str, steps: int) -> None:
    """Prints rows a second of the towers alone, on the GPU where there is one."""
    import torch

    from tzrec.config import prepare
    from tzrec.features.build import build_features
    from tzrec.models.build import build_model, tower_features
    from tzrec.runtime.memory import keep_freed_memory
    from tzrec.training.build import PRECISION
    from tzrec.training.step import use_exact_onednn

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_freed_memory()
        use_exact_onednn()
    pipeline = prepare(str(config), edits=json.dumps(SIZES)).message
    towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
    model = build_model(pipeline, towers, table_device="meta")
    rows = BATCH
    sides = []
    for tower, features, count in (
        (model.user_tower, towers.user, rows),
        (model.item_tower, towers.item, rows + NEGATIVES),
    ):
        tower.precision = PRECISION[PRECISIONS[precision]]
        width = sum(feature.width for feature in features)
        sides.append((tower.to(device), torch.randn(count, width, device=device, requires_grad=True)))
    for step in range(steps):
        if step == 5:
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
        torch.stack([tower(x).sum() for tower, x in sides]).sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    print(rows * (steps - 5) / (time.perf_counter() - started))


def environment(processes: int) -> dict[str, str]:
    threads = max(len(os.sched_getaffinity(0)) // processes, 1)
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": "."}


def floors(flags: argparse.Namespace, processes: int, precision: str) -> float:
    """Rows a second of that many floors at once, together."""
    words = [sys.executable, __file__, "--work_dir", flags.work_dir, "--floor", precision]
    words += ["--steps", str(flags.steps)]
    started = [
        subprocess.Popen(words, env=environment(processes), stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in started)


def train(flags: argparse.Namespace, processes: int, precision: str) -> Run:
    """Runs the command, reading the time of each step off its log."""
    words = [sys.executable, "-m"]
    if processes > 1:
        words += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    edits = {
        "train_config.num_epochs": None,
        "train_config.num_steps": flags.steps,
        "train_config.log_step_count_steps": 1,
        "train_config.mixed_precision": PRECISIONS[precision],
        "eval_config.num_steps": 1,
    } | SIZES
    model_dir = flags.work_dir / f"model-{time.time_ns()}"
    words += ["tzrec.train_eval", "--pipeline_config_path", str(flags.work_dir / "data/pipeline.config")]
    words += ["--model_dir", str(model_dir), "--edit_config_json", json.dumps(edits)]
    times: list[float] = []
    loss = memory = 0.0
    began = time.perf_counter()
    process = subprocess.Popen(words, env=environment(processes), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step "):
            times.append(time.perf_counter() - began)
            loss = float(line.split("| loss ")[1].split()[0])
            # Reading the sizes takes milliseconds; it is done where no step is timed.
            if len(times) in (5, flags.steps):
                memory = max(memory, used(process.pid))
    if process.wait():
        raise SystemExit(f"training failed with status {process.returncode}")
    rate = BATCH * processes * (flags.steps - 6) / (times[-1] - times[5])
    return Run(rate, times[0], memory, loss)


def used(pid: int) -> float:
    """MB of a process and all below it; pages that several share are counted once (PSS)."""
    total = 0.0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            total = int(line.split()[1]) / 1024
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total += sum(used(int(child)) for child in (thread / "children").read_text(encoding="utf-8").split())
    return total


if __name__ == "__main__":
    main()
