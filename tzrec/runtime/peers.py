"""Which other process of this job is to blame when the others wait for it in vain."""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tzrec.runtime.world import process_start

# From proc(5): stopped by a signal, stopped by a debugger.
STOPPED = ("T", "t")


@dataclass(frozen=True)
class Peer:
    """A process of this job.

    Attributes:
        rank: its number.
        host: where it runs.
        pid: its number there.
        started: when, in clock ticks since that host was booted; "" where it is not known.
    """

    rank: int
    host: str
    pid: int
    started: str


_peers: list[Peer] = []


def exchange(store: Any, rank: int, size: int) -> None:
    """Tells all processes of the job about one another. Collective.

    Args:
        store: torch's key-value store of this start of the job.
        rank: of this process.
        size: processes of the job.
    """
    me = Peer(rank, socket.gethostname(), os.getpid(), process_start(os.getpid()))
    store.set(f"tzrec/peer/{rank}", json.dumps(asdict(me)))
    _peers[:] = [Peer(**json.loads(store.get(f"tzrec/peer/{other}"))) for other in range(size)]


def stopped(peers: Sequence[Peer] | None = None) -> Peer | None:
    """The first process of the job on this host that a signal has stopped, if there is one.

    Args:
        peers: the processes of the job; as they have told one another by default.
    """
    for peer in _peers if peers is None else peers:
        if peer.host == socket.gethostname() and process_start(peer.pid) == peer.started != "":
            try:
                text = Path(f"/proc/{peer.pid}/stat").read_text(encoding="utf-8", errors="replace")
                state = text.rsplit(")", 1)[1].split()[0]
            except (OSError, IndexError):
                continue
            if state in STOPPED:
                return peer
    return None
