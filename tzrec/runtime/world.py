"""Who am I among the processes of this job. The only reader of the launcher's environment."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tzrec.runtime.errors import UserError

LONGEST_PATIENCE = 10**8  # seconds; what waits takes milliseconds in 64 bits


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
        """Reads RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE; one process when they are absent.

        Several processes that were not started by torchrun are taken to be on one host, unless
        LOCAL_RANK and LOCAL_WORLD_SIZE say otherwise.

        Raises:
            UserError: variables that are no numbers or contradict one another, or that do not say where
                several processes meet; other variables of the environment that a command could not use.
        """
        size = _number("WORLD_SIZE", 1, 1)
        if size > 1:
            needed = ("RANK", "MASTER_ADDR", "MASTER_PORT")
            if lost := [name for name in needed if not os.environ.get(name)]:
                raise UserError(
                    f"WORLD_SIZE: {size} processes, without {' and '.join(lost)}; start them with torchrun, "
                    "or unset WORLD_SIZE for one process"
                )
            _number("MASTER_PORT", 1, 1, 65535)
        rank = _number("RANK", 0, 0, size - 1, f"WORLD_SIZE is {size}")
        local_size = _number("LOCAL_WORLD_SIZE", size, 1, size, f"WORLD_SIZE is {size}")
        own = rank if local_size == size else 0
        local_rank = _number("LOCAL_RANK", own, 0, local_size - 1, f"LOCAL_WORLD_SIZE is {local_size}")
        restarts = _number("TORCHELASTIC_RESTART_COUNT", 0, 0)
        _check_threads()
        patience()
        hash_node_ids()
        return cls(rank, size, local_rank, local_size, restarts)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """The half-open range of `count` things that belongs to this rank.

        Ranges of the ranks follow one another and differ in length by at most one.
        """
        return count * self.rank // self.size, count * (self.rank + 1) // self.size


def _number(name: str, default: int, least: int, most: int | None = None, why: str = "") -> int:
    """A whole number of the environment.

    Raises:
        UserError: it is none, or out of its range.
    """
    text = os.environ.get(name, str(default)).strip()
    value = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
    if value is None or value < least or (most is not None and value > most):
        allowed = f"{least} or more" if most is None else f"a whole number from {least} to {most}"
        reason = f", for {why}" if why else ""
        raise UserError(f'{name}: "{text}" is not {allowed}{reason}; start with torchrun, or unset {name}')
    return value


def _check_threads() -> None:
    """Libraries complain of OMP_NUM_THREADS each in its own way, or die of too many threads."""
    text = os.environ.get("OMP_NUM_THREADS", "1")
    # A list is for parallel regions inside one another.
    if not all(re.fullmatch(r"\s*0*[1-9][0-9]{0,3}\s*", part) for part in text.split(",")):
        raise UserError(
            f'OMP_NUM_THREADS: "{text}" is no number of threads from 1 to 9999; set another, or unset it'
        )


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
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return physical


def process_start(pid: int) -> str:
    """When a process of this host was started, in clock ticks since the boot; "" without such a one.

    Together with its number it tells a process from any later one.
    """
    try:
        # Field 22, counted from after the parenthesised command, which may hold spaces.
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rsplit(")", 1)[1]
            .split()[19]
        )
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
        UserError: TZREC_PATIENCE is no positive number, or more than three years.
    """
    given = os.environ.get("TZREC_PATIENCE", "1800")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_PATIENCE:
        raise UserError(
            f'TZREC_PATIENCE: "{given}" is no number of seconds above 0, at most {LONGEST_PATIENCE}; set '
            "another, or unset it for 1800"
        )
    return seconds


def error_file() -> Path | None:
    """Where torchrun looks for the reason of this process's failure; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(name) if name else None


def hash_node_ids() -> bool:
    """Whether USE_HASH_NODE_ID=1 asks for string ids in the negative table to be hashed.

    Raises:
        UserError: another word than 0 and 1.
    """
    text = os.environ.get("USE_HASH_NODE_ID", "0")
    if text not in ("", "0", "1"):
        raise UserError(f'USE_HASH_NODE_ID: "{text}" is neither 0 nor 1; set one of them, or unset it')
    return text == "1"


def cache_dir() -> Path:
    """Where derived files are kept between runs: TZREC_CACHE_DIR, else the user's cache folder.

    Raises:
        UserError: the place cannot be a folder, or there is none.
    """
    chosen = os.environ.get("TZREC_CACHE_DIR")
    try:
        folder = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tzrec")
    except RuntimeError:
        raise UserError("TZREC_CACHE_DIR: not set, and this user has no home; set it to a folder") from None
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise UserError(
                    f"TZREC_CACHE_DIR: {folder} cannot be a folder, for {place} is none; name another place"
                )
            break
    return folder
