"""One run of the hit rate: all rows of a user table against a pool, on all ranks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.retrieval.baselines import count_items
from tzrec.retrieval.breakdown import Breakdown, by_popularity, by_size, place_misses
from tzrec.retrieval.collapse import LOOKED_AT, collapse
from tzrec.retrieval.hit_rate import Tally
from tzrec.retrieval.measures import Coverage, Measure, Mrr, Ndcg, Popular, Random, Scored
from tzrec.retrieval.page import Line, Report
from tzrec.retrieval.pool import Pool
from tzrec.retrieval.users import Retrieval, UserTable, details, details_schema, score
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.processes import agreed, gather
from tzrec.runtime.progress import bar
from tzrec.runtime.world import World

METRICS = ("ndcg", "mrr", "coverage", "popular", "random")
# From this share of rows on it is said that many of the items given score alike, or that there are few.
TIED = 0.1
# As a person reads them.
TITLES = {
    "ndcg": "NDCG",
    "mrr": "MRR",
    "coverage": "coverage of the pool",
    "popular": "hit rate of the most popular",
    "random": "hit rate of random items",
}


@dataclass
class Result:
    """What all ranks have counted.

    Attributes:
        ks: the K asked for, ascending.
        tally: of the hit rate.
        measures: those asked for.
        warning: one line where the user vectors have collapsed, else "".
    """

    ks: list[int]
    tally: Tally
    measures: list[Measure]
    warning: str = ""

    def lines(self) -> list[str]:
        """What the command says at the end."""
        total = self.tally
        lines = [self.warning] if self.warning else []
        if total.absent:
            lines.append(
                f"{total.absent:,} of {total.items:,} ground-truth items are not in the pool: never a hit"
            )
        if total.excluded:
            lines.append(
                f"{total.excluded:,} of {total.items:,} ground-truth items are excluded for their row: "
                "never a hit"
            )
        if total.tied and total.tied >= TIED * total.rows:
            lines.append(
                f"warning: in {total.tied:,} of {total.rows:,} rows half or more of the {len(total.by_rank)} "
                "items that were given score alike: which of them come is drawn at random, by a fixed seed, "
                "and says nothing of the model"
            )
        if total.short and total.short >= TIED * total.rows:
            lines.append(
                f"warning: in {total.short:,} of {total.rows:,} rows the probed lists held fewer than "
                f"{len(total.by_rank)} items, though the pool has more; raise --ivf_nprobe, or search all by "
                "--index_type FlatIP (FlatL2)"
            )
        for k in self.ks:
            lines.append(
                f"Total HitRate@{k}: {total.rate(k):.4f} (hits {total.hits(k)} of {total.items} ground-truth "
                f"items, {total.rows} rows, {total.without} without ground truth)"
            )
        lines += [
            f"{TITLES[measure.name]} @{k}: {measure.value(k):.4f}"
            for measure in self.measures
            for k in self.ks
        ]
        return lines


def totals(result: Result) -> pa.Table:
    """The table of the total: one column hitrate; with several K or other measures a row for each K."""
    rates = {"hitrate": [result.tally.rate(k) for k in result.ks]}
    if len(result.ks) == 1 and not result.measures:
        return pa.table(rates)
    more = {measure.name: [measure.value(k) for k in result.ks] for measure in result.measures}
    return pa.table({"top_k": result.ks, **rates, **more})


class Evaluation:
    """The rows of a table, divided over ranks.

    Args:
        world: the place of this process.
        users: the table.
        pool: the items.
        how: how to search; its top_k is the greatest K.
        ks: the K to measure at, ascending.
    """

    def __init__(self, world: World, users: UserTable, pool: Pool, how: Retrieval, ks: list[int]) -> None:
        self.world, self.users, self.pool, self.how, self.ks = world, users, pool, how, ks
        self.measures: list[Measure] = []
        self.breakdown: Breakdown | None = None
        self.seen: np.ndarray | None = None
        # The first user vectors of this rank.
        self.looked_at: list[np.ndarray] = []

    def prepare(self, metrics: list[str], popularity: str | None, field: str, breakdown: bool) -> None:
        """What is to be measured beside the hit rate. Collective.

        Args:
            metrics: of METRICS.
            popularity: paths of a table of interactions.
            field: its column of item ids.
            breakdown: for `report`.

        Raises:
            UserError: a table that cannot be read.
        """
        if popularity:
            paths = popularity
            counted = agreed(
                self.world, lambda: count_items(self.world, paths, "--popularity_input", field, self.pool.ids)
            )
            self.seen = np.sum(gather(self.world, counted), axis=0)
        most, size = self.how.top_k, len(self.pool)
        seen = np.zeros(size, np.int64) if self.seen is None else self.seen
        make: dict[str, Callable[[], Measure]] = {
            "ndcg": lambda: Ndcg(self.ks),
            "mrr": lambda: Mrr(most),
            "coverage": lambda: Coverage(self.ks, size),
            "popular": lambda: Popular(seen, most, self.pool.table_rows),
            "random": lambda: Random(size),
        }
        self.measures = [make[name]() for name in metrics]
        self.breakdown = Breakdown(self.pool) if breakdown else None

    def run(self, output: StagedFolder | None) -> Result:
        """Scores all rows; every rank writes its part of the details. Collective.

        Raises:
            UserError: a vector or a ground truth that cannot be read.
        """
        world = self.world
        start, stop = world.share(self.users.table.num_rows)
        own = agreed(world, lambda: self._own_rows(start, stop, output))
        tallies = gather(world, own)
        for name in ("measures", "breakdown"):
            for rank, others in enumerate(gather(world, getattr(self, name))):
                if rank != world.rank and others is not None:
                    mine = getattr(self, name)
                    pairs = [(mine, others)] if name == "breakdown" else zip(mine, others, strict=True)
                    for one, other in pairs:
                        one.add(other)
        looked_at = [vectors for part in gather(world, self.looked_at) for vectors in part]
        warning = collapse(np.concatenate(looked_at), "user vectors", repeats=True) if looked_at else ""
        return Result(self.ks, sum(tallies, Tally.nothing(self.how.top_k)), self.measures, warning)

    def _own_rows(self, start: int, stop: int, output: StagedFolder | None) -> Tally:
        watched = bool(self.measures or self.breakdown is not None or output)
        title = "hit rate" if self.world.size == 1 else f"hit rate (1 of {self.world.size} shares)"
        with bar(self.world, stop - start, "rows", title) as progress, ExitStack() as stack:
            write: Callable[[Scored], object] | None = None
            if output is not None:
                write = stack.enter_context(self._writer(output))

            def see(scored: Scored) -> None:
                for measure in self.measures:
                    measure.see(scored)
                if self.breakdown is not None:
                    self.breakdown.see(scored)
                if write is not None:
                    write(scored)

            def look(vectors: np.ndarray) -> None:
                room = LOOKED_AT // self.world.size - sum(map(len, self.looked_at))
                if room > 0:
                    self.looked_at.append(vectors[:room].copy())

            watch = see if watched else None
            return score(self.users, start, stop, self.pool, self.how, watch, progress.update, look)

    @contextmanager
    def _writer(self, output: StagedFolder) -> Iterator[Callable[[Scored], object]]:
        """What writes the details of rows into this rank's part."""
        schema = details_schema(self.users)
        with (
            output.writing(),
            pq.ParquetWriter(output.path / f"part-{self.world.rank}.parquet", schema) as writer,
        ):
            yield lambda scored: writer.write_batch(details(scored, self.pool.ids).cast(schema))

    def report(self, result: Result, index_type: str) -> Report:
        """What the page of a run shows."""
        assert self.breakdown is not None
        counts, most, tally = self.breakdown, self.how.top_k, result.tally
        curves = [Line("this model", [tally.rate(k) for k in range(1, most + 1)])]
        curves += [
            Line(TITLES[measure.name], [measure.value(k) for k in range(1, most + 1)])
            for measure in result.measures
            if isinstance(measure, Popular | Random)
        ]
        facts = [
            ("index", index_type),
            ("items", f"{len(self.pool):,}"),
            ("rows", f"{tally.rows:,} with ground truth, {tally.without:,} without"),
            ("ground-truth items", f"{tally.items:,}, {tally.absent:,} not in the pool"),
        ]
        if self.users.exclude_field:
            facts.append(("excluded", f"the items of column {self.users.exclude_field}"))
        source = "rows of the table of interactions that have the item"
        if self.seen is None:
            source = "rows of this user table whose ground truth has the item"
        return Report(
            facts,
            ["hit rate", *(TITLES[measure.name] for measure in result.measures)],
            [(k, [tally.rate(k), *(m.value(k) for m in result.measures)]) for k in result.ks],
            curves,
            by_popularity(counts.wanted, counts.hit, counts.wanted if self.seen is None else self.seen),
            by_size(counts.by_size),
            source,
            place_misses(counts.misses, self.pool),
            most,
            len(self.pool),
            list(result.ks),
        )
