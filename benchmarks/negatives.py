"""Hit rates of the ways to choose negatives, each trained with the real commands.

    python benchmarks/negatives.py demo --work_dir .bench-negatives --table exclusion
    python benchmarks/negatives.py movielens --input_dir ml-100k --work_dir .bench-negatives --table in_batch

Tables: `exclusion` (what is kept from a row, by weights and batch size), `in_batch` (in-batch, logQ and
mixed against sampled alone), `samplers` (the four samplers against the untrained model; demo only).
Each line is printed as soon as it is known and appended to work_dir/results.jsonl; lines that stand
there are not run again. One seed: differences below about 0.01 are noise.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

SAMPLER = "data_config.negative_sampler"
DSSM = "model_config.dssm"
BATCHES = {"demo": (1024, 8192), "movielens": (256, 4096)}
Variant = tuple[str, float, dict[str, Any]]


def exclusions(source: str) -> Iterator[Variant]:
    """What is kept from a row, for uniform and popularity weights, small and large batches."""
    for power, batch, exclusion in product((0.0, 1.0), BATCHES[source], ("BATCH", "ROW", "NOTHING")):
        edits = {"data_config.batch_size": batch, f"{SAMPLER}.exclusion": f"EXCLUDE_{exclusion}"}
        yield f"exclusion power {power} batch {batch} {exclusion}", power, edits


def in_batch(source: str) -> Iterator[Variant]:
    """The items of the batch as negatives, with and without corrections, alone and mixed."""
    item = {"demo": "adgroup_id", "movielens": "item_id"}[source]
    for words in ("plain", "mask", "mask logq"):
        options = {
            f"{DSSM}.in_batch_negative": True,
            f"{DSSM}.mask_accidental_hits": "mask" in words,
            f"{DSSM}.logq_correction": "logq" in words,
        }
        alone = {**options, SAMPLER: None, "data_config.item_id_field": item}
        yield f"in-batch {words}", 0.0, alone
        if words != "plain":
            for power in (0.0, 1.0):
                mixed = {**options, f"{SAMPLER}.exclusion": "EXCLUDE_ROW"}
                yield f"mixed power {power} {words}", power, mixed
    for power, logq in product((0.0, 1.0), (False, True)):
        edits = {f"{DSSM}.logq_correction": logq, f"{SAMPLER}.exclusion": "EXCLUDE_ROW"}
        yield f"sampled power {power} {'logq' if logq else 'plain'}", power, edits


def samplers(work_dir: Path) -> Iterator[Variant]:
    """The four samplers on the demo data, with edges made from its clicks."""
    data = work_dir / "edges"
    if not data.exists():
        words = ["tzrec.tools.prepare_data", "demo", "--output_dir", str(data)]
        subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL)
        write_edges(data)
    fields = json.dumps(["adgroup_id", "cate_id", "campaign_id", "customer", "brand", "price"])
    same = {"num_sample": 1024, "item_id_field": "adgroup_id", "attr_delimiter": "\x02"}
    tables = {
        "user_input_path": str(data / "users.txt"),
        "item_input_path": str(data / "negatives.txt"),
        "user_id_field": "user_id",
    }
    positive = {"pos_edge_input_path": str(data / "clicked.txt")}
    hard = {"hard_neg_edge_input_path": str(data / "passed_over.txt"), "num_hard_sample": 4}
    for name, own in (
        ("negative_sampler", {"input_path": str(data / "negatives.txt")}),
        ("negative_sampler_v2", {**tables, **positive}),
        ("hard_negative_sampler", {**tables, **hard}),
        ("hard_negative_sampler_v2", {**tables, **positive, **hard}),
    ):
        message = {**same, **own, "attr_fields": json.loads(fields)}
        edits = {SAMPLER: None, f"data_config.{name}": message}
        yield (
            f"{name} untrained",
            0.0,
            {**edits, "train_config.num_epochs": None, "train_config.num_steps": 1},
        )
        yield name, 0.0, edits
        if name == "negative_sampler_v2":
            message = {**message, "exclusion": "EXCLUDE_ROW"}
            yield f"{name} ROW", 0.0, {SAMPLER: None, f"data_config.{name}": message}


def write_edges(data: Path) -> None:
    """Clicks as positive edges; as hard negatives items of the clicked categories that were not clicked."""
    rng = np.random.default_rng(7)
    train = pq.read_table(data / "train", columns=["user_id", "adgroup_id"])
    users, items = (train[name].to_numpy() for name in train.column_names)
    pool = pq.read_table(data / "item", columns=["adgroup_id", "cate_id"])
    ids, cates = pool["adgroup_id"].to_numpy(), pool["cate_id"].fill_null(-1).to_numpy()
    order = np.argsort(cates, kind="stable")
    place_of = {int(item): place for place, item in enumerate(ids)}
    cate = cates[[place_of[int(item)] for item in items]]
    first, last = np.searchsorted(cates[order], cate), np.searchsorted(cates[order], cate, side="right")
    near = ids[order[first + rng.integers(0, last - first)]]
    clicked = set(zip(users.tolist(), items.tolist(), strict=True))
    passed = {pair for pair in zip(users.tolist(), near.tolist(), strict=True) if pair not in clicked}
    header = "user_id:int64\titem_id:int64\tweight:float\n"
    for name, pairs in (("clicked", clicked), ("passed_over", passed)):
        lines = "".join(f"{user}\t{item}\t1\n" for user, item in sorted(pairs))
        (data / f"{name}.txt").write_text(header + lines, encoding="utf-8")
    lines = "".join(f"{user}\t1\n" for user in np.unique(users).tolist())
    (data / "users.txt").write_text("id:int64\tweight:float\n" + lines, encoding="utf-8")


def measure(source: str, input_dir: str, work_dir: Path, variant: Variant) -> dict[str, Any]:
    """Runs the tutorial with one variant: hit rate of the model, last recall@k of the evaluation."""
    name, power, edits = variant
    folder = work_dir / "run"
    words = [source, "--work_dir", str(folder), "--processes", "1", "--edit_config_json", json.dumps(edits)]
    words += ["--prepare_flags", f"--negative_power {power}"]
    words += ["--input_dir", input_dir] if input_dir else []
    done = subprocess.run(
        [sys.executable, "-m", "tzrec.tools.tutorial", *words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    last = (folder / "model" / "train_eval_result.txt").read_text(encoding="utf-8").splitlines()[-1]
    rates = summary["hit_rates"]
    return {"source": source, "variant": name, "k": summary["k"], **rates, "evaluation": json.loads(last)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", choices=("demo", "movielens"))
    parser.add_argument("--table", choices=("exclusion", "in_batch", "samplers"), required=True)
    parser.add_argument("--work_dir", type=Path, required=True)
    parser.add_argument("--input_dir", default="", help="the unpacked download, for movielens")
    arguments = parser.parse_args()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    results = arguments.work_dir / "results.jsonl"
    written = results.read_text(encoding="utf-8") if results.exists() else ""
    known = [json.loads(line) for line in written.splitlines()]
    done = {(line["source"], line["variant"]) for line in known}
    variants = {
        "exclusion": lambda: exclusions(arguments.source),
        "in_batch": lambda: in_batch(arguments.source),
        "samplers": lambda: samplers(arguments.work_dir),
    }[arguments.table]
    for variant in variants():
        if (arguments.source, variant[0]) in done:
            continue
        line = measure(arguments.source, arguments.input_dir, arguments.work_dir, variant)
        with results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        recall = {name: value for name, value in line["evaluation"].items() if name.startswith("recall")}
        print(
            f"{line['source']} {line['variant']}: hit rate@{line['k']} {line['model']:.4f} {recall}",
            flush=True,
        )


if __name__ == "__main__":
    main()
