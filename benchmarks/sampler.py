"""Negatives a second, with attributes, of every sampler, beside a bare alias draw and `take` in NumPy.

    python benchmarks/sampler.py --work_dir .bench-sampler
    python benchmarks/sampler.py --work_dir .bench-sampler --items 100000 --rounds 50

The pool has six attributes of integers; weights are (1 / rank of the item) ** power, the batch follows
the weights as clicks do, users have 20 positive and 20 hard edges. The floor draws as many rows from
the same alias table by bare NumPy and takes the same columns, held in memory; it excludes nothing.
Floor and samplers are timed in turn, round by round; the least time of each is shown, for on a machine
that others use the rest is theirs.
"""

import argparse
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tzrec.datasets.alias import draw
from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.edges import Edges
from tzrec.datasets.negative_table import NegativeTable, open_table
from tzrec.datasets.sampler import Exclusion, NegativeSampler

NAMES = ["item_id", "cate_id", "campaign_id", "customer", "brand", "price"]
USERS = 100_000
SHAPES = ((8192, 1024), (1024, 10_000))


def make_pool(folder: Path, items: int, power: float) -> NegativeTable:
    """The table as GraphLearn text, opened the way training opens it."""
    path = folder / f"pool-{items}-{power}.txt"
    if not path.exists():
        rng = np.random.default_rng(0)
        weights = np.arange(1.0, items + 1) ** -power
        ids = pa.array(rng.permutation(items))
        columns = [ids] + [
            pa.array(rng.integers(0, top, items)) for top in (10_000, 400_000, 200_000, 100_000)
        ]
        texts = [column.cast(pa.string()) for column in (*columns, pa.array(rng.integers(1, 100_000, items)))]
        attributes = pc.binary_join_element_wise(*texts, "\x02")
        table = pa.table([ids, weights, attributes], ["id:int64", "weight:float", "attrs:string"])
        options = csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
        csv.write_csv(table, path, options)
    types = [AttributeType(name, pa.int64(), "\x1d") for name in NAMES]
    return open_table(str(path), types, "\x02", "\t", folder / "cache")


def make_edges(table: NegativeTable, seed: int) -> Edges:
    """20 edges a user, to items that follow the weights."""
    rng = np.random.default_rng(seed)
    items = draw(table.threshold, table.alias, USERS * 20, rng)
    return Edges.build(np.repeat(np.arange(USERS), 20), items, np.ones(len(items)))


def samplers(table: NegativeTable, count: int) -> dict[str, NegativeSampler]:
    """The four samplers, and the first with the other exclusions."""
    positive, hard = make_edges(table, 1), make_edges(table, 2)

    def sampler(**options: object) -> NegativeSampler:
        return NegativeSampler(table, count, "item_id", user_column="user_id", **options)  # type: ignore[arg-type]

    return {
        "negative_sampler": sampler(),
        "  EXCLUDE_ROW": sampler(exclusion=Exclusion.ROW),
        "  EXCLUDE_NOTHING": sampler(exclusion=Exclusion.NOTHING),
        "negative_sampler_v2": sampler(positive=positive),
        "hard_negative_sampler, 4 hard": sampler(hard=hard, hard_count=4),
        "hard_negative_sampler_v2, 4 hard": sampler(positive=positive, hard=hard, hard_count=4),
    }


def least(ways: dict[str, Callable[[int], int]], rounds: int) -> dict[str, tuple[float, int]]:
    """Least seconds and the negatives of each way, run in turn; the argument is the number of the round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    made = dict.fromkeys(ways, 0)
    for number in range(rounds + 2):
        for name, way in ways.items():
            started = time.perf_counter()
            made[name] = way(number)
            if number >= 2:
                seconds[name].append(time.perf_counter() - started)
    return {name: (min(times), made[name]) for name, times in seconds.items()}


def measure(table: NegativeTable, title: str, rows: int, count: int, rounds: int) -> None:
    """Prints the lines of one batch size."""
    held = {name: np.array(table.take(np.arange(len(table)), [name])[name].to_numpy()) for name in NAMES}
    threshold, alias = np.array(table.threshold), np.array(table.alias)
    rng = np.random.default_rng(5)
    batches = []
    for _ in range(rounds + 2):
        clicked = draw(threshold, alias, rows, rng)
        batches.append(
            {"item_id": pa.array(table.keys[clicked]), "user_id": pa.array(rng.integers(0, USERS, rows))}
        )

    def floor(number: int) -> int:
        drawn = draw(threshold, alias, count, np.random.default_rng(number))
        for column in held.values():
            column.take(drawn)
        return count

    def way(sampler: NegativeSampler) -> Callable[[int], int]:
        def one(number: int) -> int:
            drawn = sampler.draw(batches[number], np.random.default_rng(number))
            table.take(drawn.rows, NAMES)
            return len(drawn.rows)

        return one

    ways = {"floor": floor} | {name: way(sampler) for name, sampler in samplers(table, count).items()}
    found = least(ways, rounds)
    bare = found["floor"][1] / found["floor"][0]
    print(f"\n{title}, batch {rows} x {count}")
    for name, (seconds, made) in found.items():
        rate = made / seconds
        ratio = f"{rate / bare:5.2f} of the floor"
        print(f"  {name:<34} {seconds * 1e3:8.3f} ms  {rate / 1e6:7.2f} M negatives/s  {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work_dir", type=Path, required=True)
    parser.add_argument("--items", type=int, nargs="+", default=[10**5, 10**6, 10**7])
    parser.add_argument("--powers", type=float, nargs="+", default=[0.0, 0.75])
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    for items, power in product(arguments.items, arguments.powers):
        table = make_pool(arguments.work_dir, items, power)
        for rows, count in SHAPES:
            measure(table, f"pool {items:,}, power {power}", rows, count, arguments.rounds)


if __name__ == "__main__":
    main()
