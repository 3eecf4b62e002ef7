"""A process that was stopped for ever is the one that is named."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from torch.distributed import HashStore

from tzrec.runtime import peers
from tzrec.runtime.peers import Peer, exchange, stopped
from tzrec.runtime.processes import lost_contact
from tzrec.runtime.world import process_start

HOST = os.uname().nodename


@pytest.fixture
def child() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_stopped_rank_is_named_not_the_one_that_waits(
    child: subprocess.Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP to rank 1: the report blamed rank 0, which had waited for it."""
    silent = RuntimeError("[gloo/transport/tcp/buffer.cc] Timed out waiting 4000ms for recv operation")
    exchange(HashStore(), 0, 1)
    other = Peer(1, HOST, child.pid, process_start(child.pid))
    monkeypatch.setattr(peers, "_peers", [*peers._peers, other])
    assert "another process has not answered" in lost_contact(silent)
    child.send_signal(signal.SIGSTOP)
    end = time.monotonic() + 10
    while stopped() is None and time.monotonic() < end:
        time.sleep(0.01)
    said = lost_contact(silent)
    assert f"rank 1 (process {child.pid} on {HOST}) was stopped by a signal (SIGSTOP)" in said
    assert f"kill -CONT {child.pid}" in said
    # Of another host, or a later process of the same number, nothing is known.
    assert stopped([Peer(1, "elsewhere", child.pid, other.started)]) is None
    assert stopped([Peer(1, HOST, child.pid, "1")]) is None
    assert stopped([Peer(1, HOST, 2**22 + 1, "")]) is None
