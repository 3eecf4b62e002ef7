"""The demo data: clicks in a generated world, written as Taobao's tables are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tzrec.preparation import ads
from tzrec.preparation.config_text import CONFIG, Paths
from tzrec.preparation.demo_world import MISSING, World, build, item_buckets
from tzrec.preparation.tables import chunks, negative_weights, write_negatives, write_parts
from tzrec.runtime.errors import UserError
from tzrec.runtime.memory import check_fits

PIDS = pa.array(["430548_1007", "430539_1007"])
# 391 steps a pass in one process with the default size; what it reaches is in docs/data_preparation.md.
RECIPE = replace(
    ads.TAOBAO_RECIPE,
    batch_size=1024,
    epochs=3,
    sparse_lr=0.05,
    dense_lr=0.001,
    negatives=1024,
    hidden_units=(256, 128),
    workers=2,
)


@dataclass(frozen=True)
class Size:
    """How much to generate: users, items, rows of the training table, users that are evaluated."""

    users: int = 40_000
    items: int = 30_000
    train_rows: int = 400_000
    eval_users: int = 20_000

    def check(self) -> None:
        """Raises UserError for a size that cannot be."""
        for name, least in (("users", 1), ("items", 2), ("train_rows", 1), ("eval_users", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)} is too small; give at least {least}")
        # Bytes of a user and of an item with all columns, and of a row of the table while it is made.
        for name, size in (("users", 120), ("items", 120), ("train_rows", 4)):
            check_fits(f"--{name} {getattr(self, name)}", getattr(self, name), size)
        most = min(self.users, self.train_rows)
        if self.eval_users > most:
            raise UserError(
                f"--eval_users {self.eval_users}: only users that occur in training are evaluated, which are "
                f"{most} (--users {self.users}, --train_rows {self.train_rows}); give at most {most}"
            )


@dataclass(frozen=True)
class Clicks:
    """Who clicks, and what is held out.

    Attributes:
        world: where it happens.
        train_users: int32 [rows of the training table], user positions.
        eval_users: int64 [E], user positions, each once, each in `train_users`.
        eval_items: int64 [E], item positions.
    """

    world: World
    train_users: np.ndarray
    eval_users: np.ndarray
    eval_items: np.ndarray

    def train(self, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(users, items) of the training table, as positions, chunk after chunk.

        No user has the item in training that is held out for the user.
        """
        held_out = np.full(len(self.world.users.activity), -1)
        held_out[self.eval_users] = self.eval_items
        for number, (start, stop) in enumerate(chunks(len(self.train_users))):
            users = self.train_users[start:stop].astype(np.int64)
            rng = np.random.default_rng([seed, 5, number])
            items = self.world.click(users, rng)
            same = np.flatnonzero(items == held_out[users])
            items[same] = self.world.click(users[same], rng)
            # Drawn again the same: the next less popular one instead.
            same = same[items[same] == held_out[users[same]]]
            items[same] = (items[same] + 1) % len(self.world.items.cell)
            yield users, items


def generate(size: Size, seed: int) -> Clicks:
    """The clicks of this size and seed.

    Raises:
        UserError: a size that cannot be.
    """
    size.check()
    world = build(size.users, size.items, seed)
    rng = np.random.default_rng([seed, 3])
    # Every user once, as far as the rows go; the other rows by activity.
    certain = rng.permutation(size.users)[: size.train_rows].astype(np.int32)
    edges = np.cumsum(world.users.activity)
    more = np.empty(size.train_rows - len(certain), np.int32)
    for start, stop in chunks(len(more)):
        more[start:stop] = np.searchsorted(edges[:-1], rng.random(stop - start) * edges[-1])
    train_users = np.concatenate([certain, more])
    rng.shuffle(train_users)
    eval_users = np.sort(rng.choice(certain, size.eval_users, replace=False)).astype(np.int64)
    eval_items = world.click(eval_users, np.random.default_rng([seed, 4]))
    return Clicks(world, train_users, eval_users, eval_items)


def write(folder: Path, output_dir: str, size: Size, seed: int, power: float) -> dict[str, int]:
    """Writes the four tables and the configuration.

    Args:
        folder: where to write.
        output_dir: the folder's later name, for the configuration.
        size: how much.
        seed: of all randomness.
        power: of the negatives' weights.

    Returns:
        rows by table.

    Raises:
        UserError: a size that cannot be.
    """
    clicks = generate(size, seed)
    world = clicks.world
    counts = np.zeros(size.items, np.int64)
    begin, end = ads.FIRST_SECOND, ads.FIRST_SECOND + ads.TRAIN_DAYS * ads.DAY

    def train_tables() -> Iterator[pa.Table]:
        start = 0
        for number, (users, items) in enumerate(clicks.train(seed)):
            counts[:] += np.bincount(items, minlength=size.items)
            rng = np.random.default_rng([seed, 6, number])
            times = _times(start, len(users), size.train_rows, begin, end)
            yield rows(world, users, items, times, rng)
            start += len(users)

    def eval_tables() -> Iterator[pa.Table]:
        for start, stop in chunks(size.eval_users):
            rng = np.random.default_rng([seed, 7, start])
            times = _times(start, stop - start, size.eval_users, end, end + ads.DAY)
            yield rows(world, clicks.eval_users[start:stop], clicks.eval_items[start:stop], times, rng)

    written = {
        "train": write_parts(folder / "train", train_tables(), ads.ROW_SCHEMA, size.train_rows, least=2),
        "eval": write_parts(folder / "eval", eval_tables(), ads.ROW_SCHEMA, size.eval_users),
    }
    order = np.argsort(world.items.columns["adgroup_id"])
    items = pa.table(_item_columns(world, order), ads.ITEM_SCHEMA)
    written["item"] = write_parts(folder / "item", [items], ads.ITEM_SCHEMA, size.items)
    written["negatives"] = write_negatives(
        folder / "negatives.txt",
        items,
        "adgroup_id",
        ads.ITEM_COLUMNS,
        negative_weights(counts[order], power),
    )
    (folder / CONFIG).write_text(config_text(output_dir, size), encoding="utf-8")
    return written


def config_text(output_dir: str, size: Size) -> str:
    """The configuration for demo data of this size in this folder."""
    buckets = {**ads.USER_BUCKETS, "user_id": size.users + 1, **item_buckets(size.items)}
    paths = Paths.under(output_dir)
    return ads.config_text("Generated by tzrec.tools.prepare_data demo.", paths, buckets, RECIPE)


def rows(
    world: World, users: np.ndarray, items: np.ndarray, times: np.ndarray, rng: np.random.Generator
) -> pa.Table:
    """Rows of the training table for these (user, item) positions at these seconds."""
    columns = {name: _nullable(values[users]) for name, values in world.users.columns.items()}
    columns["pid"] = PIDS.take(pa.array(rng.integers(0, len(PIDS), len(users))))
    columns |= _item_columns(world, items)
    columns["clk"] = pa.array(np.ones(len(users), np.int64))
    columns["time_stamp"] = pa.array(times)
    return pa.table(columns, ads.ROW_SCHEMA)


def _item_columns(world: World, items: np.ndarray) -> dict[str, pa.Array]:
    return {name: _nullable(values[items]) for name, values in world.items.columns.items()}


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=values == MISSING)


def _times(start: int, count: int, total: int, begin: int, end: int) -> np.ndarray:
    """Evenly spread seconds for the rows [start, start + count) of `total`."""
    return begin + (np.arange(start, start + count) * (end - begin)) // total
