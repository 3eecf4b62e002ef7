"""Reading "Ad Display/Click Data on Taobao" as it is downloaded: three CSV files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from tzrec.runtime.errors import UserError, nearest

SAMPLE, ADS, PROFILES = "raw_sample.csv", "ad_feature.csv", "user_profile.csv"
# Columns in the order of the files, with their types.
SAMPLE_COLUMNS = {
    "user": pa.int64(),
    "time_stamp": pa.int64(),
    "adgroup_id": pa.int64(),
    "pid": pa.string(),
    "nonclk": pa.int64(),
    "clk": pa.int64(),
}
AD_COLUMNS = {
    "adgroup_id": pa.int64(),
    "cate_id": pa.int64(),
    "campaign_id": pa.int64(),
    "customer": pa.int64(),
    "brand": pa.int64(),
    "price": pa.float64(),
}
PROFILE_COLUMNS = {
    "userid": pa.int64(),
    "cms_segid": pa.int64(),
    "cms_group_id": pa.int64(),
    "final_gender_code": pa.int64(),
    "age_level": pa.int64(),
    "pvalue_level": pa.int64(),
    "shopping_level": pa.int64(),
    "occupation": pa.int64(),
    "new_user_class_level": pa.int64(),
}
# Parsed at a time: the memory that a file takes does not depend on its size.
BLOCK_BYTES = 32 << 20


def folder_of(input_dir: str) -> Path:
    """The folder, when the three files are there.

    Raises:
        UserError: it is no folder, or a file is missing.
    """
    folder = Path(input_dir)
    if not folder.is_dir():
        raise UserError(f"--input_dir: {input_dir} is no folder; give the folder with {SAMPLE}")
    lost = [name for name in (SAMPLE, ADS, PROFILES) if not (folder / name).is_file()]
    if lost:
        present = sorted(path.name for path in folder.iterdir())
        hints = "".join(nearest(name, present) for name in lost[:1])
        raise UserError(
            f"--input_dir: {input_dir} lacks {', '.join(lost)}{hints}; give the folder with all of them"
        )
    return folder


def read_batches(path: Path, columns: dict[str, pa.DataType]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(line number of the first row, rows) through the file; an empty field and NULL are null.

    Args:
        path: a CSV file whose header names these columns in this order; spaces around a name
            do not count.
        columns: their types.

    Raises:
        UserError: another header, a line with another number of fields, a value that is not
            of the type; with file and line.
    """
    _check_header(path, list(columns))
    bad: list[csv.InvalidRow] = []

    def stop(row: csv.InvalidRow) -> str:
        bad.append(row)
        return "error"

    line = 2
    try:
        reader = csv.open_csv(
            path,
            # One thread: only then the parser knows the number of a bad line.
            csv.ReadOptions(
                column_names=list(columns), skip_rows=1, block_size=BLOCK_BYTES, use_threads=False
            ),
            csv.ParseOptions(quote_char=False, ignore_empty_lines=False, invalid_row_handler=stop),
            csv.ConvertOptions(column_types=columns, null_values=["", "NULL"], strings_can_be_null=True),
        )
        for batch in reader:
            yield line, batch
            line += batch.num_rows
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            return
        raise _explained(path, columns, line, bad, error) from None


def _check_header(path: Path, names: list[str]) -> None:
    with path.open("rb") as stream:
        found = stream.readline(4096).decode("utf-8-sig", "replace")
    if [name.strip() for name in found.split(",")] != names:
        raise UserError(f"{path}:1: the header is {found.strip()!r}; it must be {','.join(names)!r}")


def _explained(
    path: Path, columns: dict[str, pa.DataType], line: int, bad: list[csv.InvalidRow], error: Exception
) -> UserError:
    """The line at fault: read again as text from the first line that was not yet delivered."""
    # One pattern a line: a file of this size has tens of millions of lines to look through.
    right = re.compile(rb",".join(_pattern(kind) for kind in columns.values()) + rb"\r?\n?")
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if number >= line and not right.fullmatch(raw):
                return UserError(f"{path}:{number}: {_fault(columns, raw)}")
    return UserError(f"{path}: cannot be read as CSV ({bad or error})")


def _pattern(kind: pa.DataType) -> bytes:
    if pa.types.is_string(kind):
        return rb"[^,\r\n]*"
    number = rb"-?[0-9]{1,18}" if pa.types.is_integer(kind) else rb"[-+0-9.eE]+"
    return rb"[ \t]*(?:" + number + rb"|NULL)?[ \t]*"


def _fault(columns: dict[str, pa.DataType], raw: bytes) -> str:
    fields = raw.rstrip(b"\r\n").split(b",")
    if len(fields) != len(columns):
        shown = raw.decode("utf-8", "replace").rstrip("\r\n")[:80]
        return f"{len(fields)} fields where there should be {len(columns)}: {shown!r}"
    faults = (
        f'{name} is "{field.decode("utf-8", "replace")[:80]}", which is no {kind}'
        for (name, kind), field in zip(columns.items(), fields, strict=True)
        if not re.fullmatch(_pattern(kind), field)
    )
    return next(faults, "cannot be read")


class Keyed:
    """Rows found by an integer key, through a sorted copy of the keys.

    Args:
        path: of a CSV file.
        columns: its columns; the first one is the key, without nulls and without repetition.

    Attributes:
        rows: the table, sorted by its key. [N]
        keys: int64 [N].

    Raises:
        UserError: as `read_batches`; a key that is missing or stands there twice.
    """

    def __init__(self, path: Path, columns: dict[str, pa.DataType]) -> None:
        schema = pa.schema(list(columns.items()))
        key = schema.names[0]
        table = pa.Table.from_batches([batch for _, batch in read_batches(path, columns)], schema)
        if table[key].null_count:
            row = pc.index(pc.is_null(table[key]), True).as_py()
            raise UserError(f"{path}:{row + 2}: {key} is missing")
        keys = table[key].to_numpy()
        order = np.argsort(keys, kind="stable")
        self.keys = keys[order]
        twice = np.flatnonzero(self.keys[1:] == self.keys[:-1])
        if len(twice):
            first, second = order[twice[0]] + 2, order[twice[0] + 1] + 2
            raise UserError(
                f"{path}:{second}: {key} {self.keys[twice[0]]} stands there twice, first in line {first}"
            )
        self.rows = table.take(pa.array(order)).combine_chunks()

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The row of each key, -1 where there is none: int64, as many as keys."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1)


@dataclass(frozen=True)
class Clicks:
    """Rows of raw_sample.csv with clk = 1, N of them, in the order of the file.

    Attributes:
        user, ad, time: int64 [N]; time in Unix seconds.
        pid: int32 [N], index into `pids`.
        pids: the different texts of column pid.
    """

    user: np.ndarray
    ad: np.ndarray
    time: np.ndarray
    pid: np.ndarray
    pids: pa.Array

    def __len__(self) -> int:
        return len(self.user)


def read_clicks(path: Path) -> Clicks:
    """The clicks of raw_sample.csv; 28 bytes a click stay in memory.

    Raises:
        UserError: as `read_batches`; a missing value; a clk that is neither 0 nor 1.
    """
    kept = []
    schema = pa.schema([(name, SAMPLE_COLUMNS[name]) for name in ("user", "adgroup_id", "time_stamp", "pid")])
    for line, batch in read_batches(path, SAMPLE_COLUMNS):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                raise UserError(
                    f"{path}:{line + pc.index(pc.is_null(column), True).as_py()}: {name} is missing"
                )
        clk = batch["clk"].to_numpy()
        if len(wrong := np.flatnonzero((clk != 0) & (clk != 1))):
            raise UserError(f"{path}:{line + wrong[0]}: clk is {clk[wrong[0]]}; it must be 0 or 1")
        clicked = batch.select(schema.names).filter(pa.array(clk == 1))
        coded = clicked["pid"].dictionary_encode()
        kept.append(pa.Table.from_batches([clicked.drop_columns(["pid"]).append_column("pid", coded)]))
    if not kept:
        none = np.zeros(0, np.int64)
        return Clicks(none, none, none, np.zeros(0, np.int32), pa.array([], pa.string()))
    table = pa.concat_tables(kept).unify_dictionaries().combine_chunks()
    pid = table["pid"].combine_chunks()
    return Clicks(
        table["user"].to_numpy(),
        table["adgroup_id"].to_numpy(),
        table["time_stamp"].to_numpy(),
        pid.indices.to_numpy(),
        pid.dictionary,
    )
