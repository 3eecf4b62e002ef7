"""Vectors and ids of users and items, for the hit rate and the index."""

# ruff: noqa: E501 (tables: a row an attack)

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bad_input.row import Row, row
from tests.bad_input.tables import everywhere

ITEMS, USERS = "item_emb/part-0.parquet", "user_emb/part-0.parquet"
VECTOR, USER_VECTOR = "item_tower_emb", "user_tower_emb"


def column(name: str, make: Callable[[list], object]) -> Callable[[pa.Table], pa.Table]:
    """A table whose column `name` is made from its values."""
    return lambda table: table.set_column(
        table.column_names.index(name), name, [make(table[name].to_pylist())]
    )


def one(name: str, number: int, value: object) -> Callable[[pa.Table], pa.Table]:
    """A table with another value in row `number`, counted from 0."""
    return column(name, lambda values: pa.array([*values[:number], value, *values[number + 1 :]]))


def items(
    command: str, attack: str, change: Callable[[pa.Table], pa.Table], says: str | tuple[str, ...], step: str
) -> Row:
    """A command on spoilt item vectors."""
    flag = "--item_embedding_input" if command == "hitrate" else "--embedding_input_path"
    says = (says,) if isinstance(says, str) else says
    return row(command, attack, (flag, *says), step, spoil=everywhere("item_emb", change))


def users(
    attack: str,
    change: Callable[[pa.Table], pa.Table],
    says: str | tuple[str, ...],
    step: str,
    words: str = "",
) -> Row:
    """The hit rate on spoilt user vectors."""
    says = (says,) if isinstance(says, str) else says
    return row(
        "hitrate", attack, ("--user_gt_input", *says), step, words, spoil=everywhere("user_emb", change)
    )


EIGHT = [0.5] * 8
NAN, INFINITE = float("nan"), float("inf")

ITEM_ROWS = [
    items(command, *attack)
    for command in ("hitrate", "index")
    for attack in (
        ("an item vector with a NaN", one(VECTOR, 5, [NAN, *EIGHT[1:]]), (f'"{VECTOR}"', "row 5", "NaN"), "must be finite"),
        ("an item vector with an infinite number", one(VECTOR, 5, [INFINITE, *EIGHT[1:]]), (f'"{VECTOR}"', "row 5", "infinite"), "must be finite"),
        ("an item vector with a number missing", one(VECTOR, 5, [None, *EIGHT[1:]]), (f'"{VECTOR}"', "row 5", "missing"), "must be finite"),
        ("an item vector beyond float32", column(VECTOR, lambda rows: pa.array([[1e300] * 8, *rows[1:]], pa.list_(pa.float64()))), (f'"{VECTOR}"', "row 0"), "must be finite"),
        ("an item without a vector", one(VECTOR, 5, None), (f'"{VECTOR}"', "row 5", "no vector"), "leave such rows out"),
        ("an item vector of another width", one(VECTOR, 5, EIGHT[:7]), (f'"{VECTOR}"', "row 5", "7 numbers"), "the others have 8"),
        ("an item vector of no number", one(VECTOR, 5, []), (f'"{VECTOR}"', "row 5", "0 numbers"), "the others have 8"),
        ("item vectors of no number", column(VECTOR, lambda rows: pa.array([[]] * len(rows), pa.list_(pa.float32()))), (f'"{VECTOR}"', "0 numbers"), "vector"),
        ("two vectors for an item", column(VECTOR, lambda rows: pa.array([[row, row] for row in rows])), (f'"{VECTOR}"', "2 vectors"), "one is wanted"),
        ("item vectors that are numbers", column(VECTOR, lambda rows: pa.array([row[0] for row in rows])), (f'"{VECTOR}"', "double"), "a list of numbers"),
        ("item vectors that are words", column(VECTOR, lambda rows: pa.array(["a,b"] * len(rows))), (f'"{VECTOR}"', "a"), 'numbers joined by ","'),
        ("item vectors in brackets", column(VECTOR, lambda rows: pa.array([str(row) for row in rows])), (f'"{VECTOR}"', "]"), 'numbers joined by ","'),
        ("item vectors joined by blanks", column(VECTOR, lambda rows: pa.array([" ".join(map(str, row)) for row in rows])), f'"{VECTOR}"', 'numbers joined by ","'),
        ("an item vector of empty text", column(VECTOR, lambda rows: pa.array(["", *[",".join(map(str, row)) for row in rows[1:]]])), f'"{VECTOR}"', "number"),
        ("item vectors of structures", column(VECTOR, lambda rows: pa.array([{"a": 1.0}] * len(rows))), (f'"{VECTOR}"', "struct"), "a list of numbers"),
        ("item vectors of switches", column(VECTOR, lambda rows: pa.array([[True] * 8] * len(rows))), (f'"{VECTOR}"', "bool"), "numbers"),
        ("an item id twice", one("item_id", 5, 4), ('"item_id"', "row 5", "'4'"), "one row an item"),
        ("an item id that is null", one("item_id", 5, None), ('"item_id"', "row 5", "null"), "every item needs one"),
        ("an item id that is empty", column("item_id", lambda ids: pa.array(["", *map(str, ids[1:])])), ('"item_id"', "row 0", "empty"), "every item needs one"),
        ("an item id with a line break", column("item_id", lambda ids: pa.array(["a\nb", *map(str, ids[1:])])), ('"item_id"', "row 0", "line break"), "one id a line"),
        ("item ids that are fractions", column("item_id", lambda ids: pa.array([float(i) for i in ids])), ('"item_id"', "double"), "integers or text"),
        ("item ids in lists", column("item_id", lambda ids: pa.array([[i] for i in ids])), ('"item_id"', "list"), "integers or text"),
        ("item ids that are times", column("item_id", lambda ids: pa.array(ids, pa.timestamp("s"))), ('"item_id"', "timestamp"), "integers or text"),
        ("no item", lambda table: table.slice(0, 0), "no row", "at least one item"),
        ("a table without ids", lambda table: table.drop(["item_id"]), 'no column "item_id"', "the table has"),
        ("a table without vectors", lambda table: table.drop([VECTOR]), f'no column "{VECTOR}"', "the table has"),
    )
    # Its --item_embedding_input is named by the file there.
    if not (command == "hitrate" and attack[0].startswith("a table without"))
    and not (command == "index" and attack[0].startswith("a table without"))
] + [
    row(command, f"a table without {what}", (ITEMS, f'no column "{name}"'), "the table has", spoil=everywhere("item_emb", lambda table, name=name: table.drop([name])))
    for command in ("hitrate", "index")
    for what, name in (("ids", "item_id"), ("vectors", VECTOR))
] + [
    row(command, "a second file of items with another width", (flag, "row 400", "4 numbers"), "the others have 8", spoil=lambda desk: pq.write_table(pa.table({VECTOR: pa.array([[1.0] * 4], pq.read_schema(desk / ITEMS).field(VECTOR).type), "item_id": [10_000]}), desk / "item_emb/part-1.parquet"))
    for command, flag in (("hitrate", "--item_embedding_input"), ("index", "--embedding_input_path"))
]  # fmt: skip

USER_ROWS = [
    users("a user vector with a NaN", one(USER_VECTOR, 7, [NAN, *EIGHT[1:]]), (f'"{USER_VECTOR}"', "row 7", "NaN"), "must be finite"),
    users("a user vector with an infinite number", one(USER_VECTOR, 7, [-INFINITE, *EIGHT[1:]]), (f'"{USER_VECTOR}"', "row 7"), "must be finite"),
    users("a user without a vector", one(USER_VECTOR, 7, None), (f'"{USER_VECTOR}"', "row 7"), "leave such rows out"),
    users("user vectors of another width", column(USER_VECTOR, lambda rows: pa.array([row[:4] for row in rows])), (f'"{USER_VECTOR}"', "4 numbers"), "those of the items have 8"),
    users("a user with two vectors", one(USER_VECTOR, 7, EIGHT * 2), (f'"{USER_VECTOR}"', "row 7", "2 vectors"), "8"),
    users("more vectors than interests", column(USER_VECTOR, lambda rows: pa.array([[row] * 3 for row in rows])), (f'"{USER_VECTOR}"', "3 vectors"), "--num_interests", "--num_interests 2"),
    users("user vectors that are words", column(USER_VECTOR, lambda rows: pa.array(["none"] * len(rows))), (f'"{USER_VECTOR}"', "none"), 'numbers joined by ","'),
    users("user vectors that are numbers", column(USER_VECTOR, lambda rows: pa.array([row[0] for row in rows])), (f'"{USER_VECTOR}"', "double"), "a list of numbers"),
    users("no ground truth", column("item_id", lambda ids: pa.array([None] * len(ids), pa.int64())), ("none of 501 rows", '"item_id"'), "--gt_items_field"),
    users("ground truth of fractions", column("item_id", lambda ids: pa.array([float(i) for i in ids])), ('"item_id"', "double"), "integers or text"),
    users("no user", lambda table: table.slice(0, 0), "none of 0 rows", "--gt_items_field"),
    users("how many are valid as text", lambda table: table.append_column("n", pa.array(["1"] * len(table))), ("--num_interests_field", "string"), "an integer", "--num_interests 2 --num_interests_field n"),
    users("more valid than there are", lambda table: table.append_column("n", pa.array([2] * len(table))), ("--num_interests_field", "says 2"), "the row holds 1", "--num_interests 2 --num_interests_field n"),
    users("fewer valid than none", lambda table: table.append_column("n", pa.array([-1] * len(table))), ("--num_interests_field", "-1"), "the row holds 1", "--num_interests 2 --num_interests_field n"),
    users("excluded items of fractions", lambda table: table.append_column("x", pa.array([0.5] * len(table))), ('"x"', "double"), "integers or text", "--exclude_items_field x"),
]  # fmt: skip

ROWS = [*ITEM_ROWS, *USER_ROWS]
