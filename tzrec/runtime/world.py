"""Who am I among the processes of this job. The only reader of the launcher's environment."""

import os
from dataclasses import dataclass
from pathlib import Path

from tzrec.runtime.errors import UserError


@dataclass(frozen=True)
class World:
    """The place of this process in the job, as torchrun tells it.

    Attributes:
        rank: number of this process, 0 <= rank < size.
        size: number of processes.
        local_rank: number of this process on its host.
        local_size: number of processes on this host.
        restarts: how often torchrun has started this job again after a failure.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0

    @classmethod
    def from_environment(cls) -> "World":
        """Reads RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE; one process when they are absent."""

        def number(name: str, default: int) -> int:
            return int(os.environ.get(name, default))

        size = number("WORLD_SIZE", 1)
        return cls(
            rank=number("RANK", 0),
            size=size,
            local_rank=number("LOCAL_RANK", 0),
            local_size=number("LOCAL_WORLD_SIZE", size),
            restarts=number("TORCHELASTIC_RESTART_COUNT", 0),
        )

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """The half-open range of `count` things that belongs to this rank.

        Ranges of the ranks follow one another and differ in length by at most one.
        """
        return count * self.rank // self.size, count * (self.rank + 1) // self.size


def compute_threads(world: World) -> int | None:
    """How many threads a process should compute with, or None to leave what the user or torch chose.

    torchrun sets OMP_NUM_THREADS=1 where it starts several processes and the variable is not set,
    which leaves cores idle unless there are as many processes. A 1 that the user has set looks the
    same and is taken for torchrun's; another number is kept.
    """
    if world.local_size == 1 or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return None
    return max(len(os.sched_getaffinity(0)) // world.local_size, 1)


def host_memory() -> int:
    """Bytes of memory that the processes of this host may use together."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        # Of a container; "max" where there is no limit.
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return physical


def process_start(pid: int) -> str:
    """When a process of this host was started, in clock ticks since the boot; "" without such a one.

    Together with its number it tells a process from any later one.
    """
    try:
        # Field 22, counted from after the parenthesised command, which may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def launch_identity() -> str:
    """A text that all processes of one launch on one host share.

    It is the parent process (the torchrun agent, which no other launch has, or the shell of ranks
    that are started by hand) with its start time, the restart count and the port they meet at.
    """
    parent, port = os.getppid(), os.environ.get("MASTER_PORT", "")
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return f"{parent}-{process_start(parent) or 0}-{restarts}-{port}"


def patience() -> float:
    """Seconds that a process waits for another one before it gives up: TZREC_PATIENCE, else 1800.

    Raises:
        UserError: TZREC_PATIENCE is no positive number.
    """
    given = os.environ.get("TZREC_PATIENCE", "1800")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f'TZREC_PATIENCE: "{given}" is no number of seconds; give one greater than 0')
    return seconds


def error_file() -> Path | None:
    """Where torchrun looks for the reason of this process's failure; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(name) if name else None


def hash_node_ids() -> bool:
    """Whether USE_HASH_NODE_ID=1 asks for string ids in the negative table to be hashed."""
    return os.environ.get("USE_HASH_NODE_ID", "0") == "1"


def cache_dir() -> Path:
    """Where derived files are kept between runs: TZREC_CACHE_DIR, else the user's cache folder."""
    chosen = os.environ.get("TZREC_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tzrec"
