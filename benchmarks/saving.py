"""How long a save stops training, beside a plain copy of the same tensors and the write that follows.

python -m benchmarks.saving --megabytes 160 --rounds 5
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tzrec.runtime.processes import join_group, leave_group
from tzrec.runtime.world import World
from tzrec.training.checkpoint import Facts, Position
from tzrec.training.saving import Saver


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=160, help="of model and optimizers together")
    parser.add_argument("--rounds", type=int, default=5, help="saves; the medians are printed")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    join_group()
    saver = Saver(folder, World())
    weights = {f"weight{number}": torch.randn(arguments.megabytes * 250_000 // 16) for number in range(16)}
    copies, stops, writes = [], [], []
    for step in range(arguments.rounds):
        copies.append(seconds(lambda: [weight.clone() for weight in weights.values()]))
        facts = Facts(Position(step))
        stops.append(seconds(lambda facts=facts: saver.begin({"model": weights}, facts)))
        writes.append(seconds(saver.finish))
    leave_group()
    shutil.rmtree(folder)
    for name, measured in (("copy alone", copies), ("training stops", stops), ("write beside it", writes)):
        print(f"{name}: {statistics.median(measured):.3f} s")


if __name__ == "__main__":
    main()
