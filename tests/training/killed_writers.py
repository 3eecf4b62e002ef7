"""Two ranks that save without a pause and are killed at a random moment, a hundred times.

    python -m tests.training.killed_writers FOLDER ROUNDS

One process for all rounds: it imports torch once and forks the ranks. After each round the newest
checkpoint is loaded and must hold what both ranks wrote at its step.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from tzrec.runtime.world import World
from tzrec.training import checkpoint
from tzrec.training.checkpoint import Facts, Position
from tzrec.training.checkpoints.reader import load
from tzrec.training.saving import Saver

RANKS, SIZE, KEEP = 2, 4000, 3


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """What the model of all ranks is at a step."""
    return {"model": {f"part{rank}": torch.full((SIZE,), float(step)) for rank in range(RANKS)}}


def write(folder: Path, store: Path, world: World) -> None:
    """Saves until it is killed."""
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(store), RANKS), rank=world.rank, world_size=RANKS
    )
    checkpoint.remove_cut_off(folder, world)
    saver = Saver(folder, world, lambda: checkpoint.remove_old(folder, KEEP, None))
    newest = checkpoint.newest(folder)
    step = checkpoint.read_facts(newest).position.step if newest else 0
    while True:
        step += 1
        own = {f"part{world.rank}": tensors(step)["model"][f"part{world.rank}"]}
        saver.begin({"model": own}, Facts(Position(step)))
        saver.add_metrics({"mrr": float(step)})


def check(folder: Path) -> int:
    """The newest step, after its checkpoint was loaded."""
    newest = checkpoint.newest(folder)
    if newest is None:
        return 0
    facts = checkpoint.read_facts(newest)
    assert newest == checkpoint.path_of(folder, facts.position.step)
    found = tensors(-1)
    load(newest, found, alone=True)
    for name, expected in tensors(facts.position.step)["model"].items():
        assert torch.equal(found["model"][name], expected), f"{newest}: {name}"
    return facts.position.step


def main(folder: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    folder.mkdir()
    chance, cut_off, steps = random.Random(11), 0, [0]
    for number in range(rounds):
        store = folder.with_name(f"store{number}")
        children = []
        for rank in range(RANKS):
            child = os.fork()
            if child == 0:
                with open(os.devnull, "w") as quiet:
                    os.dup2(quiet.fileno(), 1)
                    os.dup2(quiet.fileno(), 2)
                    try:
                        write(folder, store, World(rank, RANKS, rank, RANKS))
                    finally:
                        os._exit(1)
            children.append(child)
        time.sleep(chance.uniform(0.05, 0.3))
        # One of them, the other a moment later; or both at once.
        first = chance.choice([[0, 1], [1, 0]])
        os.kill(children[first[0]], signal.SIGKILL)
        time.sleep(chance.choice([0, 0, 0.02]))
        os.kill(children[first[1]], signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        cut_off += any(folder.glob("*.saving")) or any(folder.glob("*.removing"))
        steps.append(check(folder))
        assert steps[-1] >= steps[-2], "a checkpoint was lost"
    print(f"{rounds} rounds, {cut_off} cut off in a save, {steps[-1]} saves")
    assert cut_off >= rounds // 5, "the moments miss the saves"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
