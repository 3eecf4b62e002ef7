"""tzrec.train_eval in which one rank meets a fault at one step.

FAULT={"rank": 1, "step": 3, "do": "SIGKILL"} sends this rank a signal when it begins that step;
"do" may be "hang" too, "raise", or "full": from there on no file may grow beyond 4 KiB. Only the
first start of a job that torchrun starts again has the fault.
"""

import json
import os
import resource
import signal
import time

from tzrec.runtime.command import run
from tzrec.runtime.world import World
from tzrec.train_eval import main
from tzrec.training.loop import Trainer


def with_fault(rank: int, step: int, do: str) -> None:
    """Makes the fault part of `Trainer`."""
    world, whole_update = World.from_environment(), Trainer._update

    def faulty_update(trainer: Trainer, group) -> None:
        if (world.rank, trainer.position.step + 1, world.restarts) == (rank, step, 0):
            trainer.saver.finish()  # What was saved before the fault is a matter of the test.
            if do == "hang":
                # torchrun ends what ignores SIGTERM by SIGKILL after 30 s; a test need not wait for it.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(1000)
            elif do == "raise":
                raise RuntimeError("a fault of this rank")
            elif do == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            else:
                os.kill(os.getpid(), signal.Signals[do])
        whole_update(trainer, group)

    Trainer._update = faulty_update


if __name__ == "__main__":
    with_fault(**json.loads(os.environ["FAULT"]))
    run("tzrec.train_eval", main)
