"""A process that has imported everything and runs commands in children that it forks.

Importing torch, torchrec and faiss takes seconds, a fork some milliseconds; so hundreds of commands
run as themselves, each in a process of its own with its own folder, environment and output.

A line of JSON comes in for each run and one goes out:

    {"module", "words", "folder", "environment", "ranks", "file_limit", "seconds"}
    {"statuses": [exit status of each rank; negative: that signal], "hung": [ranks], "seconds"}

Nothing here may start a thread: a child that is forked beside threads can wait for ever for what they
held. `stdout` and `stderr` of a run are files beside its folder, `out` and `err`.
"""

import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

# Seconds that a rank has to end after another one has failed and it got SIGTERM, as torchrun does it.
GRACE = 8.0
# What a run finds in its environment only if it asks for it.
OURS = ("TZREC_", "TORCHELASTIC_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_", "AWS_", "USE_HASH", "XDG_")


def load_everything() -> None:
    """Imports every module of the package and what they import late."""
    import tzrec

    for module in pkgutil.walk_packages(tzrec.__path__, "tzrec."):
        importlib.import_module(module.name)
    for late in ("torch.distributed.checkpoint", "torchrec", "fbgemm_gpu", "faiss", "pyarrow.csv"):
        importlib.import_module(late)


def become(run: dict[str, Any], rank: int, environment: dict[str, str]) -> None:
    """What the forked child does: runs the command as `python -m` would. Does not return."""
    os.setsid()
    folder = Path(run["folder"])
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        # All ranks write into one file, as to one terminal.
        file = os.open(folder.parent / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    os.environ.update(environment)
    if run["ranks"] > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        # Where torchrun wants the reason of a failure; it also tells a rank that it has a launcher.
        os.environ["TORCHELASTIC_ERROR_FILE"] = str(folder.parent / f"error-{rank}.json")
    if run["file_limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (run["file_limit"], run["file_limit"]))
    sys.argv = [run["module"], *run["words"]]
    from tzrec.runtime.command import run as run_command

    run_command(run["module"], importlib.import_module(run["module"]).main, run["words"])


def launch(run: dict[str, Any], environment: dict[str, str]) -> tuple[list[int], list[int]]:
    """Forks the ranks and waits for them: (statuses, ranks that had to be killed)."""
    children = {}
    for rank in range(run["ranks"]):
        child = os.fork()
        if not child:
            try:
                become(run, rank, environment)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)  # Never back into the loop of the server.
        children[child] = rank
    store = _store(environment) if run["ranks"] > 1 else None
    statuses, hung = [0] * run["ranks"], []
    end = time.monotonic() + run["seconds"]
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            statuses[children.pop(child)] = os.waitstatus_to_exitcode(status)
            if status and children:
                end = min(end, time.monotonic() + GRACE)
                for other in children:
                    os.kill(other, signal.SIGTERM)
        elif time.monotonic() > end:
            hung += sorted(children.values())
            for other in children:
                os.kill(other, signal.SIGKILL)
            end += GRACE
        else:
            time.sleep(0.002)
    del store
    return statuses, hung


def _store(environment: dict[str, str]) -> Any:
    """The key-value store by which ranks meet; torchrun's agent keeps it, whoever of them dies."""
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", int(environment["MASTER_PORT"]), is_master=True, wait_for_workers=False)


def launch_several(run: dict[str, Any], environment: dict[str, str]) -> tuple[list[int], list[int]]:
    """As `launch`, in a child of its own: the store for the ranks has threads."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    size = str(run["ranks"])
    environment |= {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"},
        **{"TORCHELASTIC_RUN_ID": "rows", "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size},
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    reading, writing = os.pipe()
    if not (agent := os.fork()):
        try:
            os.write(writing, json.dumps(launch(run, environment)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(agent, 0)
    return json.loads(answer)


def main() -> None:
    load_everything()
    # A collection in a child would write to, and so copy, every page of what is loaded here.
    gc.collect()
    gc.freeze()
    threads = [
        Path(f"/proc/self/task/{name}/comm").read_text().strip() for name in os.listdir("/proc/self/task")
    ]
    answers = os.fdopen(os.dup(1), "w")
    answers.write(json.dumps({"threads": threads}) + "\n")
    answers.flush()
    for line in sys.stdin:
        run = json.loads(line)
        began = time.monotonic()
        start = launch if run["ranks"] == 1 else launch_several
        statuses, hung = start(run, dict(run["environment"]))
        answers.write(
            json.dumps({"statuses": statuses, "hung": hung, "seconds": time.monotonic() - began}) + "\n"
        )
        answers.flush()


if __name__ == "__main__":
    main()
