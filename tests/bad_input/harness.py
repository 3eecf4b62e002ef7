"""Prepares a desk once, runs rows on copies of it and says what is wrong with what they did."""

import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bad_input.row import MODULES, Desk, Row
from tests.small import make_small

ROOT = Path(__file__).resolve().parents[2]
# Seconds within which a command has to say what is wrong.
LONGEST = 15.0
# Beyond that it is killed.
DEADLINE = 40.0


@dataclass
class Outcome:
    """What a run left.

    Attributes:
        statuses: exit status of each rank.
        hung: ranks that had to be killed.
        seconds: it took.
        out, err: its output.
        changed: what is there and was not, is not there and was, or has another content; each a path
            of the desk, of the folder for temporary files ("tmp/...") or of the cache ("cache/...").
    """

    statuses: list[int]
    hung: list[int]
    seconds: float
    out: str
    err: str
    changed: list[str]


class Server:
    """The process of `server.py`."""

    def __init__(self, log: Path) -> None:
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        with log.open("w") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.bad_input.server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
                env=environment,
                cwd=ROOT,
            )
        self.threads: list[str] = self._answer()["threads"]

    def ask(self, **run: Any) -> dict[str, Any]:
        """Runs a command; see `server.py`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(run) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server of the rows has ended"
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def contents(folder: Path) -> dict[str, bytes | None]:
    """Path within a folder -> content of a file; None for a folder."""
    found: dict[str, bytes | None] = {}
    for place, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(place, name), folder)] = None
        for name in files:
            path = Path(place, name)
            found[os.path.relpath(path, folder)] = path.read_bytes() if path.is_file() else b"special"
    return found


class Rows:
    """Runs rows, as many at once as there are servers.

    Args:
        folder: for everything; `desk` in it is what rows get a copy of.
        servers: how many.
    """

    def __init__(self, folder: Path, servers: int = 2) -> None:
        self.folder, self.numbers = folder, itertools.count()
        self.servers: queue.SimpleQueue[Server] = queue.SimpleQueue()
        self.pool = ThreadPoolExecutor(servers)
        self.under_way: dict[str, Future[list[str]]] = {}
        for number in range(servers):
            self.servers.put(Server(folder / f"server{number}.log"))
        self.desk = folder / "desk"
        make_small(self.desk, rows=600)
        config = self.desk / "pipeline.config"
        config.write_text(config.read_text().replace(f"{self.desk}/", ""))
        for command, *words in (
            ("train", "--pipeline_config_path", "pipeline.config", "--model_dir", "trained"),
            ("export", "--pipeline_config_path", "trained/pipeline.config", "--export_dir", "export"),
            *(
                (
                    *("predict", "--scripted_model_path", f"export/{tower}"),
                    *("--predict_input_path", f"{table}/*.parquet", "--predict_output_path", f"{tower}_emb"),
                    *("--reserved_columns", keep, "--output_columns", f"{tower}_tower_emb"),
                )
                for tower, table, keep in (("item", "item", "item_id"), ("user", "eval", "user_id,item_id"))
            ),
        ):
            done = self.run(command, words, self.desk)
            assert done.statuses == [0], done.err

    def run(
        self,
        command: str,
        words: list[str],
        desk: Path,
        ranks: int = 1,
        environment: dict[str, str] | None = None,
        file_limit: int = 0,
    ) -> Outcome:
        """Runs a command in a desk, with folders for temporary files and the cache beside it."""
        around = desk.parent
        places = {name: around / name for name in ("tmp", "cache")}
        for place in places.values():
            place.mkdir(exist_ok=True)
        watched = {"": desk, **{f"{name}/": place for name, place in places.items()}}
        before = {start: contents(place) for start, place in watched.items()}
        server = self.servers.get()
        try:
            answer = server.ask(
                module=MODULES[command],
                words=words,
                folder=str(desk),
                environment={
                    **{"TMPDIR": str(places["tmp"]), "TZREC_CACHE_DIR": str(places["cache"])},
                    **(environment or {}),
                },
                ranks=ranks,
                file_limit=file_limit,
                seconds=DEADLINE,
            )
        finally:
            self.servers.put(server)
        changed = []
        for start, place in watched.items():
            after = contents(place)
            changed += [
                start + name
                for name in {**before[start], **after}
                if before[start].get(name, b"absent") != after.get(name, b"absent")
            ]
        texts = [(around / name).read_text(errors="replace") for name in ("out", "err")]
        for name in ("out", "err"):
            (around / name).unlink()
        return Outcome(
            answer["statuses"], answer["hung"], answer["seconds"], texts[0], texts[1], sorted(changed)
        )

    def begin(self, rows: Iterable[Row]) -> None:
        """Begins to run rows, in this order, for `attack` to wait for."""
        for row in rows:
            self.under_way[row.name] = self.pool.submit(self._attack, row)

    def attack(self, row: Row) -> list[str]:
        """What is wrong with the answer to an attack; empty when all is well."""
        begun = self.under_way.pop(row.name, None)
        return begun.result() if begun else self._attack(row)

    def close(self) -> None:
        """Ends the servers; rows that nobody has asked for are left out."""
        self.pool.shutdown(cancel_futures=True)
        while not self.servers.empty():
            self.servers.get().close()

    def _attack(self, row: Row) -> list[str]:
        around = self.folder / str(next(self.numbers))
        shutil.copytree(self.desk, around / "desk", symlinks=True)
        desk = Desk(around / "desk")
        try:
            if row.spoil is not None:
                row.spoil(desk)
            environment = {name: text.format(desk=desk.root) for name, text in row.environment.items()}
            words = [word.replace("{desk}", str(desk.root)) for word in row.argv()]
            done = self.run(row.command, words, desk.root, row.ranks, environment, row.file_limit)
        finally:
            shutil.rmtree(around)
        return faults(row, done)


# What a run may leave: a table of the cache that was made of an input, whole, its lock, and the mark that
# it was compared; the mark of who failed first; the configuration of a training that had begun when the
# fault was met.
KEPT = re.compile(
    r"cache/[\w-]+(\.lock|\.checked|/[\w.-]+)?|tmp/tzrec-failed-[\w-]+|model|model/pipeline\.config"
)
# A rank that SIGTERM ends while it builds such a table leaves this, and the next build removes it.
CUT_OFF = re.compile(r"cache/[\w-]+\.unfinished(/[\w.-]+)?")
PROGRESS = re.compile(r"\d+%\||it/s|/s\]|\?it")


def faults(row: Row, done: Outcome) -> list[str]:
    """How the outcome differs from one line that names the thing and the next step."""
    found = []
    if done.hung:
        found.append(f"ranks {done.hung} did not end")
    if row.ranks == 1 and done.statuses != [2]:
        found.append(f"status {done.statuses[0]}")
    # A rank that lost a peer ends with 1, if SIGTERM does not reach it before; one without work with 0.
    if row.ranks > 1 and (2 not in done.statuses or not set(done.statuses) <= {0, 1, 2, -15}):
        found.append(f"statuses {done.statuses}")
    if done.seconds > LONGEST:
        found.append(f"took {done.seconds:.1f} s")
    lines = [line for line in re.split(r"[\r\n]+", done.err) if line.strip() and not PROGRESS.search(line)]
    ours = [line for line in lines if re.match(rf"{re.escape(MODULES[row.command])}( \w+)?: error: ", line)]
    if len(ours) != 1:
        found.append(f"{len(ours)} lines of ours")
    # Several mistakes of a configuration have a line each below the first one.
    several = re.search(r": error: (\d+) errors in ", ours[0]) if ours else None
    besides = len(lines) - len(ours) - (int(several[1]) if several else 0)
    if besides and (row.ranks == 1 or several):
        found.append(f"{besides} lines besides")
    if "Traceback" in done.err or "Traceback" in done.out:
        found.append("a traceback")
    said = "\n".join(lines)
    found += [f"does not say {text!r}" for text in row.says if text not in said]
    if row.step not in said:
        found.append(f"does not give the next step {row.step!r}")
    if re.search(r"^(done|exported|wrote|Written)\b|hitrate@?\S* *[:=]", done.out, re.M):
        found.append("claims success")
    left = [
        name
        for name in done.changed
        if not (KEPT.fullmatch(name) or (row.ranks > 1 and CUT_OFF.fullmatch(name)))
        and not any(Path(name).match(glob) for glob in row.leaves)
    ]
    if left:
        found.append(f"leaves or changes {', '.join(left[:5])}")
    if found:
        found.append(f"stderr: {done.err[-3000:].strip()}")
        found.append(f"stdout: {done.out[-800:].strip()}")
    return found
