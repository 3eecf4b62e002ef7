"""Runs the whole tutorial: data, training, export, vectors, hit rate, index; and says how it went.

    python -m tzrec.tools.tutorial demo --work_dir .quickstart
    python -m tzrec.tools.tutorial movielens --input_dir ml-100k --work_dir .movielens

Every stage is one of the public commands in processes of its own, printed before it runs. The end
is a summary (wall time and rows a second of each stage, hit rate beside most-popular and random on
the same rows, where each artifact lies), also written to work_dir/summary.json.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tzrec.config.edit import edit_all
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.retrieval.baselines import popular_hit_rate, random_hit_rate
from tzrec.runtime.claim import only_writer
from tzrec.runtime.command import Parser, run
from tzrec.runtime.errors import UserError
from tzrec.runtime.output import StagedFile
from tzrec.runtime.places import is_empty, is_own
from tzrec.runtime.progress import duration
from tzrec.runtime.storage import writing
from tzrec.runtime.world import World
from tzrec.tools import prepare_data

# source: (item id, user id, K of the hit rate)
SOURCES = {
    "demo": ("adgroup_id", "user_id", 200),
    "movielens": ("item_id", "user_id", 50),
    "taobao": ("adgroup_id", "user_id", 200),
}


@dataclass
class Stage:
    """What one command took.

    Attributes:
        name: of the stage.
        seconds: wall time of the whole command, start-up included.
        rows: rows it worked on.
    """

    name: str
    seconds: float
    rows: int


class Tutorial:
    """The commands of one run and their times.

    Args:
        source: of SOURCES.
        work_dir: everything is written below it.
        processes: that torchrun starts.
        edits: for --edit_config_json of training; "" for none.
    """

    def __init__(self, source: str, work_dir: Path, processes: int, edits: str) -> None:
        self.item, self.user, self.top_k = SOURCES[source]
        self.source, self.processes, self.edits = source, processes, edits
        self.data, self.model = work_dir / "data", work_dir / "model"
        self.export = self.model / "export"
        self.items, self.users = work_dir / "item_emb", work_dir / "user_emb"
        self.hits = work_dir / "hitrate"
        self.stages: list[Stage] = []

    def command(self, name: str, rows: int, module: str, *flags: str, launch: bool = True) -> None:
        """Runs one command of the package.

        Raises:
            UserError: the command failed; it has said why.
        """
        words = [sys.executable, "-m"]
        if launch:
            words += ["torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}", "-m"]
        words += [module, *flags]
        shown = ["torchrun", *words[3:]] if launch else ["python", *words[1:]]
        print(f"\n== {name}\n{shlex.join(shown)}", flush=True)
        threads = max(1, len(os.sched_getaffinity(0)) // (self.processes if launch else 1))
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        started = time.perf_counter()
        status = subprocess.run(words, env=environment, check=False).returncode
        self.stages.append(Stage(name, time.perf_counter() - started, rows))
        if status:
            raise UserError(f"{name} failed with status {status}; its own message stands above")

    def run(self, prepare_flags: Sequence[str]) -> None:
        """All stages in order."""
        self.command(
            "prepare data",
            0,
            "tzrec.tools.prepare_data",
            self.source,
            "--output_dir",
            str(self.data),
            *prepare_flags,
            launch=False,
        )
        train, test, pool = (count_rows(self.data / name) for name in ("train", "eval", "item"))
        self.stages[-1].rows = train + test + pool
        edits = ["--edit_config_json", self.edits] if self.edits else []
        self.command(
            "train",
            train,
            "tzrec.train_eval",
            "--pipeline_config_path",
            str(self.data / "pipeline.config"),
            "--model_dir",
            str(self.model),
            *edits,
        )
        self.command(
            "export",
            0,
            "tzrec.export",
            "--pipeline_config_path",
            str(self.model / "pipeline.config"),
            "--export_dir",
            str(self.export),
        )
        self._predict("item vectors", "item", pool, self.items, self.item)
        self._predict("user vectors", "user", test, self.users, f"{self.user},{self.item}", table="eval")
        self.command(
            "hit rate",
            test,
            "tzrec.tools.hitrate",
            "--user_gt_input",
            f"{self.users}/*.parquet",
            "--item_embedding_input",
            f"{self.items}/*.parquet",
            "--total_hitrate_output",
            str(self.hits),
            "--top_k",
            str(self.top_k),
            "--item_id_field",
            self.item,
            "--request_id_field",
            self.user,
            "--gt_items_field",
            self.item,
        )
        self.command(
            "index",
            pool,
            "tzrec.tools.create_faiss_index",
            "--embedding_input_path",
            f"{self.items}/*.parquet",
            "--index_output_dir",
            str(self.export / "user"),
            "--id_field",
            self.item,
            "--embedding_field",
            "item_tower_emb",
            launch=False,
        )

    def _predict(self, name: str, tower: str, rows: int, out: Path, keep: str, table: str = "") -> None:
        self.command(
            name,
            rows,
            "tzrec.predict",
            "--scripted_model_path",
            str(self.export / tower),
            "--predict_input_path",
            f"{self.data / (table or tower)}/*.parquet",
            "--predict_output_path",
            str(out),
            "--reserved_columns",
            keep,
            "--output_columns",
            f"{tower}_tower_emb",
        )

    def hit_rates(self) -> dict[str, float]:
        """Of the model, the most popular items and random ones, on the same rows."""
        truth, pool = column(self.data / "eval", self.item), column(self.data / "item", self.item)
        return {
            "model": column(self.hits, "hitrate")[0].as_py(),
            "most popular": popular_hit_rate(column(self.data / "train", self.item), truth, pool, self.top_k),
            "random": random_hit_rate(len(pool), self.top_k),
        }


def column(folder: Path, name: str):  # type: ignore[no-untyped-def]
    """One column of a parquet folder, as an Arrow chunked array."""
    return pq.read_table(folder, columns=[name])[name]


def count_rows(folder: Path) -> int:
    """Rows of a parquet folder, from its metadata."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def summarize(tutorial: Tutorial, rates: dict[str, float]) -> str:
    """What a person wants to see at the end."""
    lines = ["", "stage              wall time      rows/s"]
    for stage in tutorial.stages:
        rate = f"{stage.rows / stage.seconds:>10,.0f}" if stage.rows else " " * 9 + "-"
        lines.append(f"{stage.name:<16} {duration(stage.seconds):>11}  {rate}")
    lines.append(f"{'in all':<16} {duration(sum(stage.seconds for stage in tutorial.stages)):>11}")
    lines += ["", f"hit rate@{tutorial.top_k}"]
    lines += [f"  {name:<14} {rate:.4f}" for name, rate in rates.items()]
    lines += ["", "where things lie"]
    for what, path in (
        ("configuration", tutorial.model / "pipeline.config"),
        ("checkpoints", tutorial.model),
        ("user tower, index", tutorial.export / "user"),
        ("item tower", tutorial.export / "item"),
        ("item vectors", tutorial.items),
        ("user vectors", tutorial.users),
    ):
        lines.append(f"  {what:<18} {path}")
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags, and those for prepare_data."""
    parser = Parser("tzrec.tools.tutorial", __doc__)
    parser.add_argument("source", choices=sorted(SOURCES), help="where the data comes from")
    parser.add_argument("--work_dir", required=True, help="folder for everything; emptied if a run made it")
    parser.add_argument("--input_dir", help="files as downloaded, for movielens and taobao")
    parser.add_argument("--processes", type=_processes, default=2, help="processes of torchrun; default 2")
    parser.add_argument("--edit_config_json", default="", help="changes to the training configuration")
    parser.add_argument(
        "--prepare_flags", default="", help='more flags for prepare_data, in one text: "--seed 2"'
    )
    arguments = parser.parse_args(argv)
    try:
        flags = shlex.split(arguments.prepare_flags)
    except ValueError as error:
        raise UserError(f"--prepare_flags: {arguments.prepare_flags}: {error}; close what it opens") from None
    if arguments.input_dir:
        flags += ["--input_dir", arguments.input_dir]
    # What the stages would refuse is refused before the first one has run for minutes.
    data = str(Path(arguments.work_dir) / "data")
    asked = prepare_data.parse([arguments.source, "--output_dir", data, *flags])
    if asked.output_dir != data:
        raise UserError("--prepare_flags: --output_dir is given by this command; leave it out")
    if arguments.edit_config_json:
        (problem, *_) = edit_all(EasyRecConfig(), arguments.edit_config_json).problems or [""]
        if "not a JSON object" in problem:
            raise UserError(problem)
    return arguments, flags


def _processes(text: str) -> int:
    most = max(4 * len(os.sched_getaffinity(0)), 2)
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f'"{text}" is no number from 1 to {most}, four a core')
    return value


def main(argv: Sequence[str]) -> None:
    arguments, flags = parse(argv)
    with only_writer(arguments.work_dir, "--work_dir") as work_dir:
        work(arguments, flags, work_dir)


def work(arguments: argparse.Namespace, flags: Sequence[str], work_dir: Path) -> None:
    """Runs all stages in the folder, which is emptied first.

    Raises:
        UserError: a folder that no run of this command has made, or a stage that failed.
    """
    if not is_empty(work_dir):
        # Only what a run of this command has made is cleared away.
        if not (work_dir / ".tutorial").exists():
            raise UserError(f"--work_dir: {work_dir} holds something else; give another folder")
        for entry in work_dir.iterdir():
            # The mark stays: a run that is killed here leaves a folder that the next one may empty.
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != ".tutorial" and not is_own(entry.name):
                entry.unlink()
    with writing(f"--work_dir: {work_dir}"):
        (work_dir / ".tutorial").touch()
    tutorial = Tutorial(arguments.source, work_dir, arguments.processes, arguments.edit_config_json)
    tutorial.run(flags)
    rates = tutorial.hit_rates()
    record = {"stages": [asdict(stage) for stage in tutorial.stages], "hit_rates": rates, "k": tutorial.top_k}
    with StagedFile(str(work_dir / "summary.json"), "--work_dir", World()) as summary:
        with summary.writing():
            summary.path.write_text(json.dumps(record, indent=1), encoding="utf-8")
        summary.finish()
    print(summarize(tutorial, rates))


if __name__ == "__main__":
    run("tzrec.tools.tutorial", main)
