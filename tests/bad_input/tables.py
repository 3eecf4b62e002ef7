"""Tables of parquet and CSV: none, empty, cut, garbage, other columns and types, values that no feature takes."""

# ruff: noqa: E501 (tables: a row an attack)

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tests.bad_input.row import Desk, Row, row

CONFIG = "pipeline.config"
TRAIN, TEST = "train/a.parquet", "eval/a.parquet"
UNREADABLE = "cannot be read as parquet"


def cut(name: str, keep: float) -> Callable[[Desk], None]:
    """The first part of a file."""

    def spoil(desk: Desk) -> None:
        content = (desk / name).read_bytes()
        (desk / name).write_bytes(content[: int(len(content) * keep)])

    return spoil


def overwritten(name: str, start: int, size: int, byte: bytes = b"\xff") -> Callable[[Desk], None]:
    """A file with a part overwritten; a negative start counts from the end."""

    def spoil(desk: Desk) -> None:
        content = bytearray((desk / name).read_bytes())
        at = start if start >= 0 else len(content) + start
        content[at : at + size] = byte * min(size, len(content) - at)
        (desk / name).write_bytes(bytes(content))

    return spoil


def filled(name: str, content: bytes) -> Callable[[Desk], None]:
    """Another content in place of a file."""

    def spoil(desk: Desk) -> None:
        (desk / name).write_bytes(content)

    return spoil


def changed(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Desk], None]:
    """A table changed."""

    def spoil(desk: Desk) -> None:
        pq.write_table(change(pq.read_table(desk / name)), desk / name)

    return spoil


def column(name: str, make: Callable[[pa.Table], object]) -> Callable[[pa.Table], pa.Table]:
    """A table with another column `name`."""
    return lambda table: table.set_column(table.column_names.index(name), name, make(table))


def everywhere(folder: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Desk], None]:
    """All files of a folder changed."""

    def spoil(desk: Desk) -> None:
        for path in sorted((desk / folder).glob("*.parquet")):
            pq.write_table(change(pq.read_table(path)), path)

    return spoil


# command, file, flags
READ = {
    "train": ("train", TRAIN),
    "eval": ("eval", TEST),
    "predict": ("predict", TEST),
    "hitrate": ("hitrate", "user_emb/part-0.parquet"),
    "index": ("index", "item_emb/part-0.parquet"),
}

FILES = [
    row(command, f"a parquet file {attack}", (file, UNREADABLE), "copy this one again", spoil=spoil(file))
    for command, file in READ.values()
    for attack, spoil in (
        ("of no byte", lambda file: filled(file, b"")),
        ("that is text", lambda file: filled(file, b"this is no parquet\n" * 30)),
        ("cut in the middle", lambda file: cut(file, 0.5)),
        ("whose footer is overwritten", lambda file: overwritten(file, -300, 280)),
        ("whose length of the footer is a lie", lambda file: overwritten(file, -8, 4)),
        ("whose pages are overwritten", lambda file: overwritten(file, 4, 1500)),
    )
] + [
    row("train", "a gzip-compressed file for parquet", (TRAIN, UNREADABLE), "copy this one again", spoil=filled(TRAIN, b"\x1f\x8b\x08\x00" + b"\x00" * 200)),
    row("train", "a link to nothing", "train_input_path", "give a file", "--train_input_path link.parquet", spoil=lambda desk: (desk / "link.parquet").symlink_to("nowhere")),
    row("train", "a file without its end that a row needs", (TRAIN, UNREADABLE), "copy this one again", spoil=overwritten(TRAIN, 2000, 1500)),
    row("train", "the evaluation table damaged", (TEST, UNREADABLE), "copy this one again", spoil=cut(TEST, 0.5)),
    row("predict", "a table whose last file is cut", ("eval/b.parquet", UNREADABLE), "copy this one again", spoil=cut("eval/b.parquet", 0.9)),
    row("hitrate", "item vectors cut", ("item_emb/part-0.parquet", UNREADABLE), "copy this one again", spoil=cut("item_emb/part-0.parquet", 0.7)),
    row("hitrate", "the table of what is popular damaged", (TRAIN, UNREADABLE), "copy this one again", "--metrics popular --popularity_input train", spoil=overwritten(TRAIN, 4, 9000)),
]  # fmt: skip

NO_ROWS = [
    row("train", "no row to train on", ("train_input_path", "no row"), "give", spoil=everywhere("train", lambda table: table.slice(0, 0))),
    row("train", "no row to evaluate", ("eval_input_path", "no row"), "give", spoil=everywhere("eval", lambda table: table.slice(0, 0))),
    row("eval", "no row to evaluate", ("eval_input_path", "no row"), "give", spoil=everywhere("eval", lambda table: table.slice(0, 0))),
    row("train", "an empty folder", ("train_input_path", "empty", ".parquet"), "give a file", "--train_input_path empty", spoil=lambda desk: (desk / "empty").mkdir()),
    row("train", "a folder of hidden files", ("train_input_path", "hidden"), "give a file", "--train_input_path hidden", spoil=lambda desk: ((desk / "hidden").mkdir(), (desk / "train/a.parquet").rename(desk / "hidden/.a.parquet"))[0]),
]  # fmt: skip

SCHEMAS = [
    row("train", "a second file without a column", ("train/b.parquet", '"cate"'), "the table has", spoil=changed("train/b.parquet", lambda table: table.drop(["cate"]))),
    row("train", "a second file with another type", ("train/b.parquet", '"user_id"', "string"), "one type a column", spoil=changed("train/b.parquet", column("user_id", lambda table: table["user_id"].cast(pa.string())))),
    row("predict", "a second file with another type", ("eval/b.parquet", '"user_id"', "string"), "one type a column", spoil=changed("eval/b.parquet", column("user_id", lambda table: table["user_id"].cast(pa.string())))),
    row("train", "a column twice", (TRAIN, '"age"', "twice"), "give each name once", spoil=changed(TRAIN, lambda table: table.append_column("age", table["age"]))),
    row("train", "no label", (TRAIN, 'no column "clk"'), "the table has", spoil=everywhere("train", lambda table: table.drop(["clk"]))),
    row("eval", "no column of a feature", (TEST, 'no column "cate"'), "the table has", spoil=everywhere("eval", lambda table: table.drop(["cate"]))),
    row("predict", "no column of a feature", (TEST, 'no column "age"'), "the table has", spoil=everywhere("eval", lambda table: table.drop(["age"]))),
    row("train", "columns in other letters", (TRAIN, 'no column "user_id"'), "the table has", spoil=everywhere("train", lambda table: table.rename_columns([name.upper() for name in table.column_names]))),
]  # fmt: skip


def values(
    attack: str, name: str, make: Callable[[pa.Table], object], says: str | tuple[str, ...], step: str
) -> Row:
    """Training on a table with another column."""
    return row("train", attack, says, step, spoil=everywhere("train", column(name, make)))


VALUES = [
    values("times for numbers", "age", lambda table: pa.array([0] * len(table), pa.timestamp("s")), ('"age"', "timestamp"), "numbers, text"),
    values("structures for numbers", "age", lambda table: pa.array([{"a": 1}] * len(table)), ('"age"', "struct"), "numbers, text"),
    values("lists of two for one number", "age", lambda table: pa.array([[1.0, 2.0]] * len(table)), ('"age"', "2"), "value_dim"),
    values("words for numbers", "age", lambda table: pa.array(["young"] * len(table)), ('"age"', '"young"'), "number"),
    values("lists of lists for ids", "user_id", lambda table: pa.array([[[1]]] * len(table)), ('"user_id"', "list"), "list"),
    values("item ids that are all null", "item_id", lambda table: pa.array([None] * len(table), pa.int64()), '"item_id"', "null"),
    values("item ids that have no type", "item_id", lambda table: pa.nulls(len(table)), '"item_id"', "null"),
    values("item ids that are fractions", "item_id", lambda table: table["item_id"].cast(pa.float64()), 'double', '"string" for "int64"'),
    values("item ids that are text where the pool has integers", "item_id", lambda table: pc.binary_join_element_wise("x", table["item_id"].cast(pa.string()), ""), "negative_sampler", '"string" for "int64"'),
    values("bytes for a word", "cate", lambda table: pa.array([b"\xff"] * len(table)), '"cate"', "text"),
    *(row(command, "item ids of evaluation that are all null", ("eval_input_path", '"item_id"'), "item_id_field", spoil=everywhere("eval", column("item_id", lambda table: pa.nulls(len(table), pa.int64())))) for command in ("train", "eval")),
    row("predict", "an output named twice", ("--output_columns", '"user_tower_emb"'), "once", "--output_columns user_tower_emb,user_tower_emb"),
    row("predict", "a kept column named twice", ("--reserved_columns", '"user_id"'), "once", "--reserved_columns user_id,user_id"),
    row("train", "a weight below 0", ('"age"', "-"), "0 or more", ("--edit_config_json", '{"data_config.sample_weight_fields": ["age"]}'), spoil=everywhere("train", column("age", lambda table: pc.negate(table["age"])))),
    row("train", "a weight that is not a number", '"age"', "0 or more", ("--edit_config_json", '{"data_config.sample_weight_fields": ["age"]}'), spoil=everywhere("train", column("age", lambda table: pa.array([float("nan")] * len(table))))),
    row("train", "weights that are text", '"cate"', "number", ("--edit_config_json", '{"data_config.sample_weight_fields": ["cate"]}')),
    row("predict", "structures for numbers", ('"age"', "struct"), "numbers, text", spoil=everywhere("eval", column("age", lambda table: pa.array([{"a": 1}] * len(table))))),
    row("predict", "lists of two for one number", ('"age"', "2"), "value_dim", spoil=everywhere("eval", column("age", lambda table: pa.array([[1.0, 2.0]] * len(table))))),
    row("eval", "words for numbers", ('"age"', '"young"'), "number", spoil=everywhere("eval", column("age", lambda table: pa.array(["young"] * len(table))))),
]  # fmt: skip


def as_csv(
    change: Callable[[list[bytes]], list[bytes]], delimiter: str = ",", header: bool = True
) -> Callable[[Desk], None]:
    """The training and evaluation tables as CSV files, the lines of the first one changed."""

    def spoil(desk: Desk) -> None:
        for folder in ("train", "eval"):
            table = pa.concat_tables(
                [pq.read_table(path) for path in sorted((desk / folder).glob("*.parquet"))]
            )
            seen = pa.array(["\x1d".join(map(str, row)) for row in table["seen"].to_pylist()])
            table = table.set_column(table.column_names.index("seen"), "seen", seen)
            path: Path = desk / folder / "a.csv"
            pa_csv.write_csv(
                table,
                path,
                pa_csv.WriteOptions(include_header=header, delimiter=delimiter, quoting_style="needed"),
            )
            if folder == "train":
                path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))
        desk.replace(CONFIG, "ParquetDataset", "CsvDataset\n  with_header: true")
        for folder in ("train", "eval"):
            desk.replace(CONFIG, f"{folder}/*.parquet", f"{folder}/*.csv")

    return spoil


def at(line: int, text: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Lines of which one (from 1) is another."""
    return lambda lines: [*lines[: line - 1], text, *lines[line:]]


CSV = [
    row("train", "CSV without a file", "train_input_path", "give a file", spoil=lambda desk: (as_csv(list)(desk), desk.remove("train/*.csv"))[0]),
    row("train", "CSV of no byte", "train/a.csv", "column", spoil=as_csv(lambda lines: [])),
    row("train", "CSV with a header only", ("train_input_path", "no row"), "give", spoil=as_csv(lambda lines: lines[:1])),
    row("train", "CSV with a field too few", ("train/a.csv:5", "1 fields"), "6", spoil=as_csv(at(5, b"1"))),
    row("train", "CSV with a field too many", ("train/a.csv:5", "7 fields"), "6", spoil=as_csv(at(5, b"1,2,3,4,5,6,7"))),
    row("train", "CSV with a word for a number", ("train/a.csv:5", '"x"'), "number", spoil=as_csv(at(5, b"1,x,3,4,c1,1"))),
    row("train", "CSV with a hexadecimal number", "train/a.csv:5", "integer", spoil=as_csv(at(5, b"0x10,1,3,4,c1,1"))),
    row("train", "CSV with a quote that is not closed", "train/a.csv:5", "6", spoil=as_csv(at(5, b'1,1,3,4,"c1,1'))),
    row("train", "CSV with bytes that are not UTF-8", "train/a.csv:5", "UTF-8", spoil=as_csv(at(5, b"1,1,3,4,\xff\xfe,1"))),
    row("train", "CSV with a carriage return within a line", "train/a.csv:5", "\\n", spoil=as_csv(at(5, b"1,1,3,4,c\r1,1"))),
    row("train", "CSV whose header names a column twice", ("train/a.csv:1", '"age"'), "once", spoil=as_csv(at(1, b"user_id,age,age,item_id,cate,clk"))),
    row("train", "CSV whose header lacks a column", ("train/a.csv", '"age"'), "the table has", spoil=as_csv(at(1, b"user_id,agee,seen,item_id,cate,clk"))),
    row("train", "CSV whose header is not UTF-8", "train/a.csv:1", "UTF-8", spoil=as_csv(at(1, b"user_id,age,seen,item_id,\xff,clk"))),
    row("train", "CSV by another delimiter", "train/a.csv", "the table has", spoil=as_csv(list, delimiter=";")),
    row("train", "CSV of a delimiter of two characters", "delimiter", "one ASCII character", spoil=lambda desk: (as_csv(list)(desk), desk.replace(CONFIG, "with_header: true", 'with_header: true delimiter: "::"'))[0]),
    row("train", "CSV without a header or names", "without a header", "give input_fields", spoil=lambda desk: (as_csv(list)(desk), desk.replace(CONFIG, "with_header: true", ""))[0]),
    row("train", "CSV with names of columns that the header lacks", "agee", 'did you mean "age"?', spoil=lambda desk: (as_csv(list)(desk), desk.replace(CONFIG, "with_header: true", 'with_header: true input_fields_str: "agee:FLOAT"'))[0]),
    row("train", "parquet where CSV is meant", "train/a.csv:1", "lines end", spoil=lambda desk: (as_csv(list)(desk), (desk / "train/a.csv").write_bytes((desk / TRAIN).read_bytes()))[0]),
]  # fmt: skip

ROWS = [*FILES, *NO_ROWS, *SCHEMAS, *VALUES, *CSV]
