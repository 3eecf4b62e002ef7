"""The negative pool at any size: what it costs to prepare, to open, to hold and to draw from.

    python -m benchmarks.pool --items 100000000 --work_dir .bench-pool

Writes a text table with six attributes (its time is not part of any figure), builds the pool from it
in a process of its own, opens it again, and lets --ranks processes with --workers threads each draw
from it. The floor is measured in the same run: a bare alias draw in NumPy over arrays that are
contiguous, and `take` of the same columns. Everything it wrote is removed in the end.
"""

import argparse
import multiprocessing as mp
import resource
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tzrec.datasets.alias import draw
from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.negative_table import NegativeTable, open_table

PIECE = 1_000_000  # items that are generated at a time
ATTRIBUTES = {
    "adgroup_id": pa.int64(),
    "cate_id": pa.int64(),
    "campaign_id": pa.int64(),
    "customer": pa.int64(),
    "brand": pa.string(),
    "price": pa.float64(),
}
TYPES = [AttributeType(name, kind, "\x1d") for name, kind in ATTRIBUTES.items()]


def generate(path: Path, items: int, seed: int = 1) -> None:
    """Ids in no order, weights by a power law, attributes of the tutorial's kind."""
    generator = np.random.default_rng(seed)
    # Multiplied by an odd number modulo 2^40: every id once, and not in order.
    spread = 0x9E3779B97 | 1
    with open(path, "wb") as file:
        file.write(b"id:int64\tweight:float\tattrs:string\n")
        for start in range(0, items, PIECE):
            count = min(PIECE, items - start)
            ids = (np.arange(start, start + count, dtype=np.int64) * spread) % (1 << 40)
            weights = np.round(generator.pareto(1.2, count) + 0.01, 3)
            brands = generator.integers(0, 460_000, count)
            columns = [
                ids,
                generator.integers(0, 10_000, count),
                generator.integers(0, 400_000, count),
                generator.integers(0, 250_000, count),
                pc.binary_join_element_wise("b", pa.array(brands).cast(pa.string()), ""),
                np.round(generator.gamma(2.0, 90.0, count), 2),
            ]
            texts = [pa.array(column).cast(pa.string()) for column in columns]
            attrs = pc.binary_join_element_wise(*texts, "\x02")
            table = pa.table({"id": pa.array(ids), "weight": pa.array(weights), "attrs": attrs})
            csv.write_csv(
                table, file, csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
            )


def open_pool(work: Path) -> NegativeTable:
    return open_table(str(work / "items.txt"), TYPES, "\x02", "\t", work / "cache")


def _build(work: Path, results: mp.Queue) -> None:
    highest = {"RssAnon": 0}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            for name, size in status().items():
                if name in highest:
                    highest[name] = max(highest[name], size)

    before = status()["RssAnon"]
    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    open_pool(work)
    seconds = time.perf_counter() - started
    stop.set()
    watcher.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    anonymous = {"anon_before": before, "peak_anon": highest["RssAnon"]}
    results.put({"build_s": seconds, "peak_rss": peak, **anonymous})


def status() -> dict[str, int]:
    """Memory of this process in bytes, as the kernel counts it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss")}


def proportional() -> int:
    """Bytes of this process, a page that n processes share counted as 1/n."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _open(work: Path, results: mp.Queue) -> None:
    started = time.perf_counter()
    table = open_pool(work)
    results.put({"open_s": time.perf_counter() - started, "items": len(table)})


def rank(work: Path, number: int, workers: int, seconds: float, barrier, results: mp.Queue) -> None:
    """Draws and takes in `workers` threads for a while, then says what memory is held."""
    before = status()["RssAnon"]
    table = open_pool(work)
    done = [0] * workers
    barrier.wait()
    deadline = time.perf_counter() + seconds

    def work_on(worker: int) -> None:
        generator = np.random.default_rng([number, worker])
        while time.perf_counter() < deadline:
            rows = draw(table.threshold, table.alias, 10_000, generator)
            table.take(rows, list(ATTRIBUTES))
            done[worker] += 10_000

    threads = [threading.Thread(target=work_on, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    barrier.wait()  # While all of them hold their pages.
    memory = status()
    results.put(
        {
            "rate": sum(done) / seconds,
            "anon_before": before,
            "anon": memory["RssAnon"],
            "file": memory["RssFile"],
            "pss": proportional(),
        }
    )
    barrier.wait()


def _costs(work: Path, rounds: int, results: mp.Queue) -> None:
    """Median times of the parts, in microseconds, and of the floor, taken in turn."""
    table = open_pool(work)
    # A page costs a fault when a process first touches it; the figures are of what follows.
    for array in (*table.columns.values(), table.index.keys, table.index.order, table.index.starts):
        buffers = array.buffers() if isinstance(array, pa.Array) else [array.view(np.uint8)]
        for buffer in buffers:
            if buffer is not None:
                np.frombuffer(buffer, np.uint8)[::4096].sum()
    threshold, alias = np.array(table.threshold), np.array(table.alias)
    generator = np.random.default_rng(3)
    floor_columns = [table.columns[name] for name in ATTRIBUTES]
    plain = [column for column in floor_columns if not pa.types.is_large_string(column.type)]
    plain = [np.frombuffer(column.buffers()[1], column.type.to_pandas_dtype()) for column in plain]
    texts = [column for column in floor_columns if pa.types.is_large_string(column.type)]
    names = list(ATTRIBUTES)

    def bare_draw(count: int) -> np.ndarray:
        bucket = generator.integers(0, len(threshold), count)
        return np.where(generator.random(count) < threshold[bucket], bucket, alias[bucket])

    def bare_take(rows: np.ndarray) -> None:
        for column in plain:
            column.take(rows)
        for column in texts:
            column.take(pa.array(rows))

    times: dict[str, list[float]] = {}

    def clock(name: str, function, *arguments):
        started = time.perf_counter()
        made = function(*arguments)
        times.setdefault(name, []).append(time.perf_counter() - started)
        return made

    for count in (1024, 10_000):
        for _ in range(rounds):
            rows = clock(f"bare draw {count:,}", bare_draw, count)
            clock(f"bare take {count:,}", bare_take, rows)
            rows = clock(f"draw {count:,}", draw, table.threshold, table.alias, count, generator)
            clock(f"take {count:,}", table.take, rows, names)
    for _ in range(rounds):
        ids = pa.array(table.index.keys[generator.integers(0, len(table), 8192)])
        clock("row_of_each 8,192", table.row_of_each, ids)
        clock("searchsorted of 8,192", lambda ids: np.searchsorted(table.index.keys, np.unique(ids)), ids)
    results.put({name: float(np.median(taken)) * 1e6 for name, taken in times.items()})


def in_process(context, function, *arguments) -> dict:
    """What a fresh process puts into its queue."""
    results = context.Queue()
    process = context.Process(target=function, args=(*arguments, results))
    process.start()
    found = results.get()
    process.join()
    return found


def measure(work: Path, items: int, arguments: argparse.Namespace) -> dict:
    """All figures of one size."""
    context = mp.get_context("spawn")
    work.mkdir(parents=True)
    try:
        started = time.perf_counter()
        generate(work / "items.txt", items)
        found = {"items": items, "generate_s": time.perf_counter() - started}
        found["text_bytes"] = (work / "items.txt").stat().st_size
        found |= in_process(context, _build, work)
        found["pool_bytes"] = sum(path.stat().st_size for path in work.glob("cache/*/*"))
        found |= in_process(context, _open, work)
        found["microseconds"] = in_process(context, _costs, work, arguments.rounds)
        results, barrier = context.Queue(), context.Barrier(arguments.ranks)
        processes = [
            context.Process(
                target=rank, args=(work, number, arguments.workers, arguments.seconds, barrier, results)
            )
            for number in range(arguments.ranks)
        ]
        for process in processes:
            process.start()
        found["ranks"] = [results.get() for _ in processes]
        for process in processes:
            process.join()
        return found
    finally:
        shutil.rmtree(work, ignore_errors=True)


def show(found: dict) -> None:
    """The figures as lines of a table."""
    gigabytes = 1e9
    ranks = found["ranks"]
    lines = {
        "items": f"{found['items']:,}",
        "text table": f"{found['text_bytes'] / gigabytes:.2f} GB, written in {found['generate_s']:.0f} s",
        "build": f"{found['build_s']:.1f} s",
        "pool on disk": f"{found['pool_bytes'] / gigabytes:.2f} GB",
        "memory of the build, anonymous, at most": f"{found['peak_anon'] / gigabytes:.2f} GB "
        f"({found['anon_before'] / gigabytes:.2f} GB before it)",
        "memory of the build, mapped pages included, at most": f"{found['peak_rss'] / gigabytes:.2f} GB",
        "open, when it is there": f"{found['open_s'] * 1e3:.1f} ms",
        "negatives a second with attributes, all ranks": f"{sum(one['rate'] for one in ranks):,.0f}",
    }
    for number, one in enumerate(ranks):
        lines[f"rank {number}"] = (
            f"anonymous {one['anon'] / gigabytes:.2f} GB ({one['anon_before'] / gigabytes:.2f} before), "
            f"mapped {one['file'] / gigabytes:.2f} GB, proportional {one['pss'] / gigabytes:.2f} GB"
        )
    lines |= {name: f"{value:,.0f} us" for name, value in found["microseconds"].items()}
    for name, text in lines.items():
        print(f"{name:52} {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 100_000_000])
    parser.add_argument("--work_dir", type=Path, default=Path(".bench-pool"), help="must not exist")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="threads of each rank")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which they draw")
    parser.add_argument("--rounds", type=int, default=200, help="of each timed part")
    arguments = parser.parse_args()
    if arguments.work_dir.exists():
        parser.error(f"--work_dir: {arguments.work_dir} exists; give a folder that does not")
    for items in arguments.items:
        show(measure(arguments.work_dir, items, arguments))
        print(flush=True)


if __name__ == "__main__":
    main()
