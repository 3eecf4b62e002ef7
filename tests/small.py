"""A small table, pool and configuration that tests train on, and how they start commands."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

USERS, ITEMS, TASTES = 200, 400, 8

CONFIG = """\
train_input_path: "{root}/train/*.parquet"
eval_input_path: "{root}/eval/*.parquet"
model_dir: "{root}/model"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.05 }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.003 }} constant_learning_rate {{}} }}
  num_steps: 16
  save_checkpoints_steps: 8
  log_step_count_steps: 4
  use_tensorboard: false
}}
data_config {{
  batch_size: 100
  dataset_type: ParquetDataset
  fg_mode: FG_DAG
  label_fields: "clk"
  num_workers: 2
  negative_sampler {{
    input_path: "{root}/negatives.txt"
    num_sample: 32
    attr_fields: ["item_id", "cate"]
    item_id_field: "item_id"
    attr_delimiter: "\\x02"
  }}
}}
feature_configs {{ id_feature {{
  feature_name: "user_id" expression: "user:user_id"
  num_buckets: 200 embedding_dim: 8 }} }}
feature_configs {{ id_feature {{
  feature_name: "seen" expression: "user:seen"
  {item_buckets}: 400 embedding_dim: 8 embedding_name: "items" pooling: "mean" }} }}
feature_configs {{ raw_feature {{ feature_name: "age" expression: "user:age" }} }}
feature_configs {{ id_feature {{
  feature_name: "item_id" expression: "item:item_id"
  {item_buckets}: 400 embedding_dim: 8 embedding_name: "items" pooling: "mean" }} }}
feature_configs {{ id_feature {{
  feature_name: "cate" expression: "item:cate"
  vocab_list: ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"] embedding_dim: 4 }} }}
model_config {{
  feature_groups {{ group_name: "user" feature_names: ["user_id", "age", "seen"] group_type: DEEP }}
  feature_groups {{ group_name: "item" feature_names: ["item_id", "cate"] group_type: DEEP }}
  dssm {{
    user_tower {{ input: "user" mlp {{ hidden_units: [16] }} }}
    item_tower {{ input: "item" mlp {{ hidden_units: [16] }} }}
    output_dim: 8
    similarity: COSINE
    temperature: 0.1
  }}
  metrics {{ recall_at_k {{ top_k: 1 }} }}
  metrics {{ recall_at_k {{ top_k: 5 }} }}
  losses {{ softmax_cross_entropy {{}} }}
}}
"""


@dataclass
class Small:
    """Where a small data set lies."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "pipeline.config"

    @property
    def model(self) -> Path:
        return self.root / "model"


def make_small(root: Path, rows: int = 3000, text_ids: bool = False) -> Small:
    """Writes tables, pool and configuration; tastes of users and items decide who meets whom."""
    generator = np.random.default_rng(3)
    user_taste, item_taste = generator.integers(0, TASTES, USERS), np.arange(ITEMS) % TASTES

    def name(items: np.ndarray) -> list:
        return [f"item {number}" for number in items] if text_ids else items.tolist()

    def clicks(count: int) -> pa.Table:
        users = generator.integers(0, USERS, count)
        items = generator.integers(0, ITEMS // TASTES, count) * TASTES + user_taste[users]
        seen = [name((items[i] + TASTES * np.arange(1, 1 + i % 3)) % ITEMS) for i in range(count)]
        return pa.table(
            {
                "user_id": users,
                "age": generator.random(count),
                "seen": pa.array(seen, pa.list_(pa.string() if text_ids else pa.int64())),
                "item_id": name(items),
                "cate": [f"c{taste}" for taste in item_taste[items]],
                "clk": np.ones(count, np.int32),
            }
        )

    for folder, count in (("train", rows), ("eval", 501)):
        (root / folder).mkdir(parents=True)
        table = clicks(count)
        pq.write_table(table.slice(0, count // 3), root / folder / "a.parquet", row_group_size=300)
        pq.write_table(table.slice(count // 3), root / folder / "b.parquet")
    items = np.arange(ITEMS)
    cates = [f"c{taste}" for taste in item_taste]
    (root / "item").mkdir()
    pq.write_table(pa.table({"item_id": name(items), "cate": cates}), root / "item" / "a.parquet")
    kind = "string" if text_ids else "int64"
    lines = [f"id:{kind}\tweight:float\tattrs:string"]
    lines += [f"{n}\t1.0\t{n}\x02{c}" for n, c in zip(name(items), cates, strict=True)]
    (root / "negatives.txt").write_text("\n".join(lines) + "\n")
    buckets = "hash_bucket_size" if text_ids else "num_buckets"
    (root / "pipeline.config").write_text(CONFIG.format(root=root, item_buckets=buckets))
    return Small(root)


def _words(module: str, words: tuple[object, ...], processes: int, launcher: tuple[str, ...]) -> list[str]:
    start = [sys.executable, "-m"]
    if processes > 1 or launcher:
        start += ["torch.distributed.run", f"--nproc-per-node={processes}"]
        start += [*(launcher or ("--standalone",)), "-m"]
    return [*start, module, *map(str, words)]


def command(
    module: str,
    *words: object,
    processes: int = 1,
    timeout: float = 120,
    launcher: tuple[str, ...] = (),
    **variables: str,
):
    """Runs a command of the package; returns the finished process with its output as text."""
    return subprocess.run(
        _words(module, words, processes, launcher),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )


class Running:
    """A command under way, its output in two files beside `log`."""

    def __init__(
        self,
        log: Path,
        module: str,
        *words: object,
        processes: int = 1,
        launcher: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
        **variables: str,
    ) -> None:
        self.out, self.err = log.with_suffix(".out"), log.with_suffix(".err")
        self.mark = f"{os.getpid()}-{log}-{time.monotonic_ns()}"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*before, *_words(module, words, processes, launcher)],
                stdout=out,
                stderr=err,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TZREC_TEST": self.mark, **variables},
                # A group of its own, which Ctrl-C of a test reaches and that of the tests does not.
                start_new_session=True,
            )

    def until(self, text: str, seconds: float = 90) -> None:
        """Waits for a text on stdout."""
        end = time.monotonic() + seconds
        while True:
            # A process that has just been started has no environment yet.
            alive, said = self.process.poll() is None or self.processes(), self.out.read_text()
            if text in said:
                return
            if not alive or time.monotonic() > end:
                raise AssertionError(f'no "{text}": {said} {self.err.read_text()}')
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """All that live, workers included: torchrun starts these in sessions of their own."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # Ended in between.
        return found

    def kill_all(self) -> None:
        for number in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float = 90) -> int:
        """Waits for the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"still running: {self.out.read_text()} {self.err.read_text()}") from None


def losses(output: str) -> dict[int, str]:
    """Step -> loss, as the log lines of training print it."""
    return {int(step): loss for step, loss in re.findall(r"^step (\d+)/.* \| loss (\S+) \|", output, re.M)}
