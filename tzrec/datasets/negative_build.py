"""Turns the table of negatives into a folder of arrays, as a stream: memory does not grow with it.

Blocks of the table are read in order, converted by a few threads and appended to flat files. The
alias table and the order of the ids are then made in files too, a chunk at a time.
"""

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tzrec.datasets.alias import build_alias
from tzrec.datasets.attributes import AttributeType
from tzrec.datasets.bounded import chunks, in_folder, read_array
from tzrec.datasets.columns import ColumnWriter, is_column_type
from tzrec.datasets.files import DataFile
from tzrec.datasets.key_index import build_index
from tzrec.datasets.keys import keys_of
from tzrec.datasets.negative_parquet import ParquetFile, items_of_batch
from tzrec.datasets.negative_text import BLOCK, Items, TextFile, items_of
from tzrec.features.values import is_text
from tzrec.runtime.errors import UserError
from tzrec.runtime.progress import bar, duration, say
from tzrec.runtime.world import World

FACTS = "table.json"
LONG = 10.0  # seconds; a build that takes longer is spoken of
IDS = "ids"
# Files that a pool does not need when it is made.
WORKING = ("light", "heavy", "lacking", "spare")


@dataclass(frozen=True)
class Source:
    """What a pool is made from.

    Attributes:
        files: of the table, in their order.
        types: of the attributes, in the order in which the table joins them.
        attr_delimiter: between the attributes of an item.
        field_delimiter: between id, weight and attributes.
        flag: what to call the table in an error.
    """

    files: Sequence[DataFile]
    types: Sequence[AttributeType]
    attr_delimiter: str
    field_delimiter: str
    flag: str

    def check(self) -> None:
        """Raises UserError for types and delimiters that no table can have."""
        for kind in self.types:
            if not is_column_type(kind.type):
                raise UserError(
                    f'{self.flag}: attribute "{kind.name}" has the type {kind.type} in the training table; '
                    "attributes can be numbers, text, lists and maps of these"
                )
        if len(self.field_delimiter.encode()) != 1:
            raise UserError(
                f"{self.flag}: field_delimiter {self.field_delimiter!r} is not one ASCII character"
            )
        if not self.attr_delimiter:
            raise UserError(f"{self.flag}: attr_delimiter is empty; give one or more characters")


def build_pool(folder: Path, source: Source, block: int = BLOCK) -> None:
    """Writes the files of the pool into `folder`, which exists and is empty.

    Args:
        folder: where they go; when this raises, what it holds is of no use.
        source: what they are made from.
        block: bytes of a text table that are converted at a time.

    Raises:
        UserError: a malformed table, with file and line.
        OSError: no room in the folder.
    """
    started = time.monotonic()
    source.check()
    sizes = [file.stamp()[1] for file in source.files]
    with (
        closing(_Writer(folder, source)) as writer,
        bar(World(), sum(sizes), "B", "negative table", delay=LONG) as progress,
    ):
        for number, file in enumerate(source.files):
            for items, position in _read(file, source, block):
                writer.append(number, items)
                progress.update(sum(sizes[:number]) + min(position, sizes[number]) - progress.n)
    writer.finish()
    if time.monotonic() - started > LONG:
        size = sum(path.stat().st_size for path in folder.iterdir())
        say(
            World(),
            f"negative table: {writer.rows:,} items, {size / 1e9:.2f} GB, prepared in "
            f"{duration(time.monotonic() - started)}; kept in {folder.parent}",
        )


def _read(file: DataFile, source: Source, block: int) -> Iterator[tuple[Items, int]]:
    """The items of one file in order, and how many of its bytes have been read."""
    if file.path.endswith(".parquet"):
        parquet = ParquetFile(file, source.types)
        convert = partial(items_of_batch, file=file, attr_delimiter=source.attr_delimiter, types=source.types)
        with closing(parquet):
            yield from _in_threads(parquet, convert)
        return
    text = TextFile(file, source.field_delimiter, block)
    convert = partial(
        items_of,
        file=file,
        text_ids=text.types[0] == "string",
        delimiters=(source.field_delimiter, source.attr_delimiter),
        types=source.types,
    )
    with closing(text):
        yield from _in_threads(text, convert)


def _in_threads(reader, convert) -> Iterator[tuple[Items, int]]:
    workers = min(len(os.sched_getaffinity(0)), 4)
    waiting: deque[tuple[Future[Items], int]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pool") as threads:
        try:
            for block, first in reader.blocks():
                waiting.append((threads.submit(convert, block, first), reader.position()))
                if len(waiting) > workers:
                    future, position = waiting.popleft()
                    yield future.result(), position
            for future, position in waiting:
                yield future.result(), position
        finally:
            threads.shutdown(cancel_futures=True)


class _Writer:
    """Appends items to the files of a pool, and makes what can only be made when all are known."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder, self.source = folder, source
        self.rows = 0
        self.counts = [0] * len(source.files)
        self.text_ids: bool | None = None
        self.columns = [
            ColumnWriter(folder, f"column{number}", kind.type) for number, kind in enumerate(source.types)
        ]
        self.ids = (folder / IDS).open("wb")
        self.weights = (folder / "weights").open("wb")

    def append(self, number: int, items: Items) -> None:
        """Adds items of file `number`."""
        text_ids = is_text(items.ids.type)
        if self.text_ids is None:
            self.text_ids = text_ids
        if text_ids != self.text_ids:
            kind = "text" if text_ids else "integer"
            raise UserError(
                f"{self.source.flag}: {self.source.files[number]} has {kind} ids, "
                "the files before it have not; give all ids one type"
            )
        self.ids.write(keys_of(items.ids, text_ids).data)
        self.weights.write(items.weights.data)
        for column, values in zip(self.columns, items.attributes, strict=True):
            column.append(values)
        self.rows += len(items)
        self.counts[number] += len(items)

    def finish(self) -> None:
        """Makes the alias table and the index of the ids.

        Raises:
            UserError: no item, no weight above 0, an id twice.
        """
        self.close()
        name = ", ".join(map(str, self.source.files))
        if not self.rows:
            raise UserError(f"{name}: the negative table has no item; give a line an item")
        weights = read_array(self.folder / "weights", np.dtype(np.float64))
        if not any(weights[part].any() for part in chunks(self.rows)):
            raise UserError(f"{name}: all {self.rows} weights are zero, so nothing can be drawn")
        allocate = in_folder(self.folder)
        _, again = build_index(read_array(self.folder / IDS, np.dtype(np.int64)), allocate)
        if again >= 0:
            raise self._twice(again)
        build_alias(weights, allocate)
        for working in WORKING:
            (self.folder / working).unlink(missing_ok=True)
        facts = {
            "items": self.rows,
            "text_ids": self.text_ids,
            "total_weight": sum(float(weights[part].sum()) for part in chunks(self.rows)),
        }
        (self.folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")

    def close(self) -> None:
        self.ids.close()
        self.weights.close()
        for column in self.columns:
            column.close()

    def _twice(self, row: int) -> UserError:
        """The error for an id of this row that an earlier row has too."""
        number = 0
        while row >= self.counts[number]:
            row -= self.counts[number]
            number += 1
        file = self.source.files[number]
        where = f"row {row + 1}" if file.path.endswith(".parquet") else str(row + 2)
        # Of a text id only the fingerprint was kept: it is read once more.
        for items, _ in _read(file, self.source, BLOCK):
            if row < len(items):
                break
            row -= len(items)
        found = items.ids[row].as_py()
        return UserError(f"{file}:{where}: the id {found} stands twice; an item has one line")
