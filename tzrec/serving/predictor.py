"""An exported tower over a table: reading, running and writing overlap."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tzrec.datasets.build import worker_count
from tzrec.datasets.loader import Loader
from tzrec.datasets.parquet import ParquetTable
from tzrec.features.feature import outside_lines
from tzrec.features.graph import columns_of, compute_all
from tzrec.features.outputs import Computed, Dense, SparseSequence
from tzrec.runtime.errors import UserError, missing_columns
from tzrec.runtime.output import StagedFile, StagedFolder
from tzrec.runtime.processes import agreed, gather
from tzrec.runtime.progress import bar, duration, say
from tzrec.runtime.world import World
from tzrec.serving.bundle import Bundle

ALL_COLUMNS = "ALL_COLUMNS"
DEBUG_COLUMN = "debug_features"
# Stands beside the parts: how many rows each of them has. Its name keeps it out of tables.
MARKER = "_SUCCESS"
# Bytes that a part collects before it writes them as one row group.
GROUP_BYTES = 32 << 20


class Predictor:
    """Turns the rows of a table into a table of outputs.

    Args:
        bundle: the exported tower.
        paths: of the table.
        reserved: input columns to keep; ["ALL_COLUMNS"] keeps all.
        outputs: of the model, to write.
        world: the place of this process.
        batch_size: rows at a time.
        threads: threads that compute features and run the model side by side; 0 chooses.
        debug: add what each feature was computed to.

    Raises:
        UserError: columns that are not in the table, or a name that would stand twice.
    """

    def __init__(
        self,
        bundle: Bundle,
        paths: str,
        reserved: Sequence[str],
        outputs: Sequence[str],
        world: World,
        batch_size: int,
        threads: int = 0,
        debug: bool = False,
    ) -> None:
        self.bundle, self.outputs, self.world, self.debug = bundle, list(outputs), world, debug
        flag = "--predict_input_path"
        everything = ParquetTable(paths, flag=flag)
        present = everything.schema.names
        self.reserved = present if list(reserved) == [ALL_COLUMNS] else list(reserved)
        inputs = columns_of(bundle.features)
        wanted = list(dict.fromkeys([*inputs, *self.reserved]))
        if lost := [name for name in wanted if name not in present]:
            raise missing_columns(str(everything.files[0]), lost, present)
        if twice := sorted(set(self.reserved) & {*self.outputs, *([DEBUG_COLUMN] if debug else [])}):
            raise UserError(f"--reserved_columns: {', '.join(twice)} is also the name of an output")
        self.loader: Loader[pa.RecordBatch] = Loader(
            everything.select(wanted),
            world,
            self._make,
            batch_size,
            threads or worker_count(bundle.pipeline.data_config.num_workers, world),
        )

    def _make(self, rows: pa.RecordBatch, epoch: int, step: int) -> pa.RecordBatch:
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        computed = compute_all(self.bundle.features, columns)
        vectors = self.bundle.vectors(computed)
        made = {name: list_column(vectors[name].numpy()) for name in self.outputs}
        if self.debug:
            made[DEBUG_COLUMN] = pa.array(explain(computed, rows.num_rows), pa.string())
        return pa.RecordBatch.from_pydict(made | {name: columns[name] for name in self.reserved})

    def run(self, folder: StagedFolder, steps: int | None = None, profile: bool = False) -> int:
        """Writes part-{rank}.parquet and a marker; returns the rows of all ranks. Collective.

        One thread reads, `threads` compute features and vectors, the caller's writes; few batches
        are held at once.

        Args:
            folder: where the parts go; it has begun, and is finished here.
            steps: stop after so many batches of each process.
            profile: write a trace beside the folder.

        Raises:
            UserError: a row that cannot be used, a refused write.
        """
        started = time.perf_counter()
        with ExitStack() as stack:
            if profile:
                trace = f"{folder.final}.trace-{self.world.rank}.json"
                stack.enter_context(_trace(trace))
            with folder.writing():
                rows = self._write(folder, steps)
                check_part(folder.path / part_name(self.world.rank), rows)
        for line in outside_lines(self.bundle.features):
            print(f"rank {self.world.rank}: {line}", flush=True)
        counts = gather(self.world, rows)
        total = sum(counts)
        parts = {part_name(rank): count for rank, count in enumerate(counts)}

        def mark() -> None:
            # What was written may be gone since: the folder may lie on a file system of many hosts.
            for name, count in parts.items():
                check_part(folder.path / name, count)
            with folder.writing():
                text = json.dumps({"rows": total, "parts": parts}) + "\n"
                (folder.path / MARKER).write_text(text, encoding="utf-8")

        agreed(self.world, lambda: mark() if self.world.is_first else None)
        folder.finish()
        seconds = time.perf_counter() - started
        say(
            self.world,
            f"wrote {total} rows to {folder.final} in {duration(seconds)}, {total / seconds:.0f} rows/s",
        )
        return total

    def _write(self, folder: StagedFolder, steps: int | None) -> int:
        schema = self._make(pa.RecordBatch.from_pylist([], self.loader.table.schema), 0, 0).schema
        whole = int(self.loader.course.sizes[:steps].sum()) * self.world.size
        written, held, size = 0, list[pa.RecordBatch](), 0
        with (
            bar(self.world, whole, "rows", "predict") as progress,
            pq.ParquetWriter(
                folder.path / part_name(self.world.rank),
                schema,
                # Vectors do not repeat, and nobody looks for one by its bounds: both would only cost time.
                use_dictionary=self.reserved,
                write_statistics=self.reserved,
            ) as writer,
        ):

            def flush() -> None:
                if held:
                    table = pa.Table.from_batches(held)
                    writer.write_table(table, row_group_size=table.num_rows)
                    held.clear()

            for batch in self.loader.batches(stop=steps):
                # With fewer rows than ranks, or batches of one row, a rank has empty ones.
                if batch.num_rows:
                    held.append(batch)
                    size += batch.nbytes
                if size >= GROUP_BYTES:
                    flush()
                    size = 0
                written += batch.num_rows
                progress.update(batch.num_rows * self.world.size)
            flush()
        return written


def check_part(path: Path, rows: int) -> None:
    """Holds what the footer of a part says against what was written.

    Raises:
        UserError: the file is not there, not whole or has another number of rows.
    """
    try:
        found = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path}: {rows} rows were written and cannot be read back ({str(error).splitlines()[0]}); look "
            "at the disk and whether something else writes there, then start again"
        ) from None
    if found != rows:
        raise UserError(
            f"{path}: {rows} rows were written, {found} are in the file; look at whether something else "
            "writes there, then start again"
        )


def part_name(rank: int) -> str:
    """The file that a rank writes."""
    return f"part-{rank}.parquet"


def list_column(vectors: np.ndarray) -> pa.ListArray:
    """float32 [N, D] as an Arrow list column of N rows, without a copy."""
    rows, width = vectors.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    # No number is missing: who reads the file need not look for that.
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False))
    return pa.ListArray.from_arrays(offsets, np.ascontiguousarray(vectors).reshape(-1), type=kind)


def explain(computed: Mapping[str, Computed], rows: int) -> list[str]:
    """What every feature is in each row, as JSON; for looking, not for speed."""
    by_row: list[dict[str, Any]] = [{} for _ in range(rows)]
    for name, feature in computed.items():
        parts: list[Any] = feature.values.tolist()
        if isinstance(feature, SparseSequence):
            parts = cut(parts, feature.key_lengths)
        if not isinstance(feature, Dense):
            parts = cut(parts, feature.lengths)
        for row, values in zip(by_row, parts, strict=True):
            row[name] = values
    return [json.dumps(row) for row in by_row]


def cut(flat: list[Any], lengths: np.ndarray) -> list[list[Any]]:
    """A list in pieces of these lengths."""
    ends = np.cumsum(lengths).tolist()
    return [flat[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


class _trace:  # noqa: N801 - used like a function in a with statement
    """Profiles what happens inside and writes it as a Chrome trace, in a new file of one process."""

    def __init__(self, path: str) -> None:
        from torch.profiler import profile

        self.file, self.profiler = StagedFile(path, "--is_profiling", World()), profile()

    def __enter__(self) -> None:
        self.file.begin()
        self.profiler.__enter__()

    def __exit__(self, *error: Any) -> None:
        try:
            self.profiler.__exit__(*error)
            if error[0] is None:
                with self.file.writing():
                    self.profiler.export_chrome_trace(str(self.file.path))
                self.file.finish()
        finally:
            self.file.give_up()
