"""Negative tables and tables of edges: headers, lines, ids, weights, attributes, bytes, compression."""

# ruff: noqa: E501 (tables: a row an attack)

import gzip
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bad_input.row import Desk, Row, row

CONFIG, POOL = "pipeline.config", "negatives.txt"
HEADER = "id:int64\tweight:float\tattrs:string"


def line(number: int, text: bytes | str) -> Callable[[Desk], None]:
    """Another line in the pool (from 1)."""
    content = text.encode() if isinstance(text, str) else text

    def spoil(desk: Desk) -> None:
        lines = (desk / POOL).read_bytes().split(b"\n")
        lines[number - 1] = content
        (desk / POOL).write_bytes(b"\n".join(lines))

    return spoil


def pool(
    attack: str, spoil: Callable[[Desk], None], says: str | tuple[str, ...], step: str, **more: object
) -> Row:
    """Training with a spoilt pool."""
    return row("train", attack, says, step, spoil=spoil, **more)


def whole(content: bytes) -> Callable[[Desk], None]:
    return lambda desk: (desk / POOL).write_bytes(content) and None


def zipped(change: Callable[[bytes], bytes]) -> Callable[[Desk], None]:
    """The pool gzip-compressed, then changed."""

    def spoil(desk: Desk) -> None:
        (desk / POOL).write_bytes(change(gzip.compress((desk / POOL).read_bytes())))

    return spoil


def one_item(desk: Desk) -> None:
    """A pool of the item of the first row of training."""
    item = pq.read_table(desk / "train/a.parquet")["item_id"][0].as_py()
    (desk / POOL).write_text(f"{HEADER}\n{item}\t1.0\t{item}\x02c0\n")


def sampler(old: str, new: str) -> Callable[[Desk], None]:
    return lambda desk: desk.replace(CONFIG, old, new)


def as_parquet(change: Callable[[pa.Table], pa.Table]) -> Callable[[Desk], None]:
    """The pool as parquet, changed."""

    def spoil(desk: Desk) -> None:
        table = pa.concat_tables([pq.read_table(path) for path in sorted((desk / "item").glob("*.parquet"))])
        table = table.append_column("id", table["item_id"]).append_column(
            "weight", pa.array([1.0] * len(table))
        )
        pq.write_table(change(table), desk / "pool.parquet")
        desk.replace(CONFIG, POOL, "pool.parquet")

    return spoil


LINES = [
    pool("no pool", lambda desk: desk.remove(POOL), (POOL, "matches no file"), "give a file"),
    pool("a pool of no byte", whole(b""), (POOL, "is empty"), HEADER.replace("\t", "\\t")),
    pool("a pool of a header only", whole(HEADER.encode() + b"\n"), (POOL, "no item"), "give"),
    pool("a pool without a header", lambda desk: (desk / POOL).write_text("\n".join((desk / POOL).read_text().split("\n")[1:])), f"{POOL}:1: the header is", "must be"),
    pool("a header of other names", line(1, "item:int64\tweight:float\tattrs:string"), f"{POOL}:1: the header is", "must be"),
    pool("a header of another type", line(1, "id:int32\tweight:float\tattrs:string"), f"{POOL}:1: the header is", "must be"),
    pool("a header with a column more", line(1, HEADER + "\tlabel:int64"), f"{POOL}:1: the header is", "must be"),
    pool("a mark of byte order", line(1, b"\xef\xbb\xbf" + HEADER.encode()), f"{POOL}:1: the header is", "must be"),
    pool("a line of two columns", line(9, "7\t1.0"), (f"{POOL}:9", "2 columns"), "3"),
    pool("a line of four columns", line(9, "7\t1.0\t7\x02c7\t3"), (f"{POOL}:9", "4 columns"), "3"),
    pool("a line by blanks", line(9, "7 1.0 7\x02c7"), (f"{POOL}:9", "columns"), "field_delimiter"),
    pool("an empty line", line(9, ""), (f"{POOL}:9", "empty line"), "remove it"),
    pool("an id that is no number", line(9, "seven\t1.0\t7\x02c7"), (f"{POOL}:9", "seven"), "int64"),
    pool("an id that is a fraction", line(9, "7.5\t1.0\t7\x02c7"), (f"{POOL}:9", "7.5"), "int64"),
    pool("an id beyond int64", line(9, "9223372036854775808\t1.0\t7\x02c7"), (f"{POOL}:9", "9223372036854775808"), "int64"),
    pool("an empty id", line(9, "\t1.0\t7\x02c7"), f"{POOL}:9", "id"),
    pool("an id twice", line(9, "6\t1.0\t6\x02c6"), (f"{POOL}:9", "id 6", "twice"), "one line"),
    pool("the weight of an item below 0", line(9, "7\t-1.0\t7\x02c7"), (f"{POOL}:9", "-1"), "0 or more"),
    pool("the weight of an item that is not a number", line(9, "7\tnan\t7\x02c7"), (f"{POOL}:9", "nan"), "no double"),
    pool("an infinite weight", line(9, "7\tinf\t7\x02c7"), (f"{POOL}:9", "inf"), "no double"),
    pool("a weight that is a word", line(9, "7\theavy\t7\x02c7"), (f"{POOL}:9", "heavy"), "no double"),
    pool("an empty weight", line(9, "7\t\t7\x02c7"), f"{POOL}:9", "weight"),
    pool("weights that are all 0", lambda desk: (desk / POOL).write_text((desk / POOL).read_text().replace("\t1.0\t", "\t0\t")), (POOL, "weights are zero"), "drawn"),
    pool("an attribute too few", line(9, "7\t1.0\t7"), (f"{POOL}:9", "1 attributes", "names 2"), "attr_delimiter"),
    pool("an attribute too many", line(9, "7\t1.0\t7\x02c7\x02x"), (f"{POOL}:9", "3 attributes"), "attr_delimiter"),
    pool("no attributes", line(9, "7\t1.0\t"), (f"{POOL}:9", "attributes"), "attr_delimiter"),
    pool("an attribute that is no number", line(9, "7\t1.0\tseven\x02c7"), (f"{POOL}:9", "item_id", "seven"), "int64"),
    pool("an attribute beyond its type", line(9, "7\t1.0\t99999999999999999999\x02c7"), (f"{POOL}:9", "item_id"), "range"),
    pool("a pool with bytes that are not UTF-8", line(9, b"7\t1.0\t7\x02\xff\xfe"), f"{POOL}:9", "UTF-8"),
    pool("a carriage return within a line", line(9, b"7\t1.0\t7\x02c\r7"), f"{POOL}:9", "\\n"),
    pool("a pool of random bytes", whole(bytes(range(256)) * 50), f"{POOL}:1", "must be"),
    pool("a pool of zero bytes", whole(b"\x00" * 4096), f"{POOL}:1", "must be"),
    pool("a gzip file cut", zipped(lambda content: content[: len(content) // 2]), (POOL, "gzip"), "write it again"),
    pool("a gzip file with a byte flipped", zipped(lambda content: content[:200] + bytes([content[200] ^ 255]) + content[201:]), (POOL, "gzip"), "write it again"),
    pool("the head of a gzip file and garbage", whole(b"\x1f\x8b" + b"\x55" * 400), (POOL, "gzip"), "write it again"),
    pool("the pool is a training table", sampler(POOL, "train/a.parquet"), ("train/a.parquet", "id"), "weight"),
]  # fmt: skip

SAMPLERS = [
    pool("attributes that are not those of the items", sampler('attr_fields: ["item_id", "cate"]', 'attr_fields: ["item_id"]'), ("attr_fields", "cate"), "attr_fields names"),
    pool("an attribute that is no column", sampler('attr_fields: ["item_id", "cate"]', 'attr_fields: ["item_id", "category"]'), 'category', 'attr_fields names'),
    pool("an attribute twice", sampler('attr_fields: ["item_id", "cate"]', 'attr_fields: ["item_id", "cate", "cate"]'), ("attr_fields", "cate"), "attr_delimiter"),
    pool("an item id that is no column", sampler('item_id_field: "item_id"', 'item_id_field: "itemid"'), '"itemid"', 'did you mean "item_id"?'),
    pool("an item id that is empty", sampler('item_id_field: "item_id"', 'item_id_field: ""'), 'no column ""', "the table has"),
    pool("an empty delimiter of attributes", sampler('attr_delimiter: "\\x02"', 'attr_delimiter: ""'), "attr_delimiter", "one or more characters"),
    pool("another delimiter of attributes", sampler('attr_delimiter: "\\x02"', 'attr_delimiter: "|"'), (f"{POOL}:2", "1 attributes"), "attr_delimiter"),
    pool("a delimiter of columns of two characters", sampler("num_sample: 32", 'num_sample: 32 field_delimiter: "::"'), "field_delimiter", "one ASCII character"),
    pool("an exclusion that is not there", sampler("num_sample: 32", "num_sample: 32 exclusion: EXCLUDE_ALL"), "EXCLUDE_ALL", "EXCLUDE_BATCH"),
    row("train", "a pool that one batch forbids", "no negative is left", "batch_size", ("--edit_config_json", '{"data_config.batch_size": 600}'), spoil=one_item),
    pool("no pool named", sampler(f'input_path: "{POOL}"', ""), "input_path", "lacks"),
    pool("an empty path of the pool", sampler(f'input_path: "{POOL}"', 'input_path: ""'), "input_path", "give"),
    pool("a negative number of samples in evaluation", sampler("num_sample: 32", "num_sample: 32 num_eval_sample: -1"), "num_eval_sample", "0"),
]  # fmt: skip

PARQUET = [
    pool("a pool of parquet without ids", as_parquet(lambda table: table.drop(["id"])), ("pool.parquet", '"id"'), "the table has"),
    pool("a pool of parquet without weights", as_parquet(lambda table: table.drop(["weight"])), ("pool.parquet", '"weight"'), "the table has"),
    pool("a pool of parquet without an attribute", as_parquet(lambda table: table.drop(["cate"])), ("pool.parquet", '"cate"'), "the table has"),
    pool("a pool of parquet with ids of fractions", as_parquet(lambda table: table.set_column(table.column_names.index("id"), "id", table["id"].cast(pa.float64()))), ("pool.parquet", "double"), "integers or text"),
    pool("a pool of parquet with an id that is null", as_parquet(lambda table: table.set_column(table.column_names.index("id"), "id", pa.array([None, *table["id"].to_pylist()[1:]]))), ("pool.parquet", "row 1"), "null"),
    pool("a pool of parquet with a weight below 0", as_parquet(lambda table: table.set_column(table.column_names.index("weight"), "weight", pa.array([-1.0] * len(table)))), ("pool.parquet", "row 1", "-1"), "0 or more"),
    pool("a pool of parquet without rows", as_parquet(lambda table: table.slice(0, 0)), ("pool.parquet", "no item"), "give"),
    pool("a pool of parquet cut", lambda desk: (as_parquet(lambda table: table)(desk), (desk / "pool.parquet").write_bytes((desk / "pool.parquet").read_bytes()[:900]))[0], ("pool.parquet", "cannot be read as parquet"), "copy"),
]  # fmt: skip

EDGES = """negative_sampler_v2 {
    user_input_path: "users.txt" item_input_path: "negatives.txt" pos_edge_input_path: "edges.txt"
    user_id_field: "user_id" """


def edges(attack: str, users: str, clicked: str, says: str | tuple[str, ...], step: str) -> Row:
    """Training with tables of users and edges."""

    def spoil(desk: Desk) -> None:
        (desk / "users.txt").write_text(users)
        (desk / "edges.txt").write_text(clicked)
        desk.replace(CONFIG, f'negative_sampler {{\n    input_path: "{POOL}"', EDGES)

    return row("train", attack, says, step, spoil=spoil)


USERS = "id:int64\tweight:float\n1\t1\n2\t1\n"
CLICKED = "user:int64\titem:int64\tweight:float\n1\t7\t1\n"
GRAPH = [
    edges("users of no byte", "", CLICKED, ("users.txt", "is empty"), "must be"),
    edges("users without a header", "1\t1\n", CLICKED, "users.txt:1", "must be"),
    edges("a user whose weight is below 0", USERS + "3\t-1\n", CLICKED, ("users.txt:4", "-1"), "0 or more"),
    edges("a user that is no number", USERS + "x\t1\n", CLICKED, ("users.txt:4", "x"), "int64"),
    edges("edges of no byte", USERS, "", ("edges.txt", "is empty"), "must be"),
    edges("an edge of two columns", USERS, CLICKED + "1\t8\n", ("edges.txt:3", "2 columns"), "3"),
    edges("an edge whose weight is not a number", USERS, CLICKED + "1\t8\tnan\n", ("edges.txt:3", "nan"), "no double"),
    edges("edges of users with text ids", USERS, CLICKED.replace("user:int64", "user:string"), ("edges.txt", "text"), "same type"),
    edges("edges of items with text ids", USERS, CLICKED.replace("item:int64", "item:string"), ("edges.txt", "text"), "same type"),
    edges("an edge with an empty id", USERS, CLICKED + "\t8\t1\n", "edges.txt:3", "id"),
    edges("a table of users for edges", USERS, USERS, "edges.txt:1", "must be"),
]  # fmt: skip

ROWS = [*LINES, *SAMPLERS, *PARQUET, *GRAPH]
