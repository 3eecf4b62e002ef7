"""Speed of training with tables whole and with tables cut by rows, on the demo data.

    python benchmarks/sharding.py --work_dir .bench-sharding --rounds 4

Each round runs the command once for each kind of sharding, in turn; a round's ratio is to its own
table-wise run. Rows a second are those of the last half of the steps.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

KINDS = ("table_wise", "row_wise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work_dir", type=Path, default=Path(".bench-sharding"))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="of each run")
    flags = parser.parse_args()
    data = flags.work_dir / "data"
    if not data.exists():
        words = ["-m", "tzrec.tools.prepare_data", "demo", "--output_dir", data]
        subprocess.run([sys.executable, *words], check=True)
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(flags.rounds):
        for kind in KINDS:
            rates[kind].append(train(flags, data / "pipeline.config", kind))
        print({kind: f"{each[-1]:.1f}k" for kind, each in rates.items()}, f"load {os.getloadavg()[0]:.1f}")
    print("\n| tables | rows/s | of table-wise, each round |")
    print("|---|---|---|")
    for kind, each in rates.items():
        ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(each, rates["table_wise"], strict=True))
        print(f"| {kind} | {statistics.median(each):.1f}k | {ratios} |")


def train(flags: argparse.Namespace, config: Path, kind: str) -> float:
    """Thousands of rows a second of one run of the command."""
    model = flags.work_dir / "model"
    shutil.rmtree(model, ignore_errors=True)
    edits = {
        "train_config.num_epochs": None,
        "train_config.num_steps": flags.steps,
        "train_config.log_step_count_steps": flags.steps // 2,
        "train_config.global_embedding_constraints": f'{{ sharding_types: "{kind}" }}',
        "eval_config.num_steps": 1,
        "data_config.num_workers": 1,
    }
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={flags.processes}"]
    words += ["-m", "tzrec.train_eval", "--pipeline_config_path", str(config), "--model_dir", str(model)]
    done = subprocess.run(
        [sys.executable, *words, "--edit_config_json", json.dumps(edits)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    return float(re.findall(r"^step .* \| ([\d.]+)k rows/s", done.stdout, re.M)[-1])


if __name__ == "__main__":
    main()
