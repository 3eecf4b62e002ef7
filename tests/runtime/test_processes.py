"""A process waits for the others of its job as long as TZREC_PATIENCE says, no longer."""

import subprocess
import sys
import time
from pathlib import Path

import torch.distributed as dist

JOIN = """
from tzrec.runtime.command import run
from tzrec.runtime.processes import join_group
run("tzrec.train_eval", lambda argv: join_group())
"""


def test_a_peer_that_never_comes_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """Rank 0 waits for a knock, rank 1 for an answer."""
    for rank in (0, 1):
        (folder := tmp_path / str(rank)).mkdir()
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", JOIN],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={
                **{"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"},
                **{"MASTER_PORT": str(store.port), "TORCHELASTIC_RUN_ID": "1", "TZREC_PATIENCE": "1"},
                **{"TORCHELASTIC_USE_AGENT_STORE": "True", "PYTHONPATH": ":".join(sys.path)},
                # Where the first of a host to fail leaves word: each rank has a place of its own here.
                **{"TMPDIR": str(folder)},
            },
        )
        assert done.returncode != 0
        assert "another process has not answered for 1 s (TZREC_PATIENCE)" in done.stderr
        assert time.monotonic() - began < 60
