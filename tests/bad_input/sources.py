"""Data as downloaded, for prepare_data, and the tutorial."""

# ruff: noqa: E501 (tables: a row an attack)

from collections.abc import Callable

from tests.bad_input.row import Desk, Row, row
from tests.preparation.test_movielens import write_1m, write_100k
from tests.preparation.test_taobao import write_source

SMALL = "demo --output_dir out --users 50 --items 20 --train_rows 100 --eval_users 5"
SOURCE = "--input_dir in --output_dir out"


def source(write: Callable, name: str, line: int, text: str | bytes | None) -> Callable[[Desk], None]:
    """Downloaded files of which a line (from 1) is another; without the file when `text` is None."""

    def spoil(desk: Desk) -> None:
        write(desk / "in")
        path = desk / "in" / name
        if text is None:
            path.unlink()
            return
        lines = path.read_bytes().split(b"\n")
        lines[line - 1] = text.encode() if isinstance(text, str) else text
        path.write_bytes(b"\n".join(lines))

    return spoil


def small(
    attack: str, name: str, line: int, text: str | bytes | None, says: str | tuple[str, ...], step: str
) -> Row:
    return row(
        "prepare",
        f"ml-100k: {attack}",
        says,
        step,
        f"movielens {SOURCE}",
        spoil=source(write_100k, name, line, text),
    )


def large(
    attack: str, name: str, line: int, text: str | bytes | None, says: str | tuple[str, ...], step: str
) -> Row:
    return row(
        "prepare",
        f"ml-1m: {attack}",
        says,
        step,
        f"movielens {SOURCE}",
        spoil=source(write_1m, name, line, text),
    )


def ads(
    attack: str, name: str, line: int, text: str | bytes | None, says: str | tuple[str, ...], step: str
) -> Row:
    return row(
        "prepare",
        f"taobao: {attack}",
        says,
        step,
        f"taobao {SOURCE}",
        spoil=source(write_source, name, line, text),
    )


FLAGS = [
    row("prepare", "no source", "source", "demo, movielens, taobao"),
    row("prepare", "a source misspelt", '"demmo"', 'did you mean "demo"?', "demmo --output_dir out"),
    row("prepare", "a flag before the source", "source", "demo, movielens, taobao", "--output_dir out demo"),
    row("prepare", "no --output_dir", "--output_dir", "--help", "demo"),
    row("prepare", "no --input_dir", "--input_dir", "--help", "taobao --output_dir out"),
    row("prepare", "a flag of another source", "unknown flag --users", "--help", f"movielens {SOURCE} --users 5"),
    row("prepare", "a flag misspelt", "unknown flag --sed", '"--seed"', f"{SMALL} --sed 3"),
    *(
        row("prepare", f"--{flag} {value}", (f"--{flag}", value), "at least", f"{SMALL} --{flag} {value}")
        for flag, value in (("users", "0"), ("items", "1"), ("train_rows", "0"), ("eval_users", "0"), ("users", "-5"), ("seed", "-1"))
    ),
    *(
        row("prepare", f"--{flag} {value}", (f"--{flag}", value), "--help", f"{SMALL} --{flag} {value}")
        for flag, value in (("users", "many"), ("items", "2.5"), ("seed", "x"))
    ),
    row("prepare", "more users to evaluate than there are", ("--eval_users", "60"), "give at most 50", f"{SMALL} --eval_users 60"),
    row("prepare", "users beyond memory", ("--users", "9000000000000000"), "give", f"{SMALL} --users 9000000000000000"),
    row("prepare", "items beyond memory", ("--items", "9000000000000000"), "give", f"{SMALL} --items 9000000000000000"),
    row("prepare", "rows beyond memory", ("--train_rows", "9000000000000000"), "give", f"{SMALL} --train_rows 9000000000000000"),
    *(row("prepare", f"--negative_power {value}", ("--negative_power", value), "from 0 to 10", f"{SMALL} --negative_power={value}") for value in ("-1", "nan", "inf", "much", "11")),
    row("prepare", "a history of nothing", ("--history_length", "0"), "at least 1", f"movielens {SOURCE} --history_length 0", spoil=lambda desk: write_100k(desk / "in") and None),
    *(row("prepare", f"an output with {name}", ("--output_dir", character), "another name", f"demo --output_dir 'a{character}b'") for name, character in (("a comma", ","), ("a star", "*"), ("a bracket", "["), ("a question mark", "?"))),
]  # fmt: skip

FILES = [
    row("prepare", "movielens: a folder that is not there", ("--input_dir", "nowhere"), "give the folder", "movielens --input_dir nowhere --output_dir out"),
    row("prepare", "movielens: another folder", ("--input_dir", "train"), "ml-100k", "movielens --input_dir train --output_dir out"),
    row("prepare", "movielens: a file for a folder", ("--input_dir", "negatives.txt"), "give the folder", "movielens --input_dir negatives.txt --output_dir out"),
    row("prepare", "movielens: an empty path", "--input_dir", "--help", "movielens --input_dir '' --output_dir out"),
    small("a file fewer", "u.user", 1, None, ("--input_dir", "u.user"), "the format has"),
    small("a field fewer", "u.data", 2, "1\t10\t5", ("u.data:2", "3 fields"), "4"),
    small("a word for a rating", "u.data", 2, "1\t10\tgood\t200", ("u.data:2", "good"), "integer"),
    small("a time below 0", "u.data", 2, "1\t10\t5\t-1", ("u.data:2", "-1"), "at least 0"),
    small("a user that is not there", "u.data", 2, "9\t10\t5\t200", ("u.data:2", "user 9"), "u.user"),
    small("an item that is not there", "u.data", 2, "1\t99\t5\t200", ("u.data:2", "item 99"), "u.item"),
    small("a user twice", "u.user", 2, "1|53|F|other|94043", ("u.user:2", "user 1"), "twice"),
    small("a genre that is neither 0 nor 1", "u.item", 1, "10|Toy Story (1995)|01-Jan-1995||http://x|" + "2|" * 18 + "0", "u.item:1", "0 or 1"),
    small("an age that is none", "u.user", 1, "1|old|M|technician|85711", ("u.user:1", "old"), "integer"),
    small("bytes beyond int64", "u.data", 2, "1\t10\t5\t99999999999999999999999", ("u.data:2", "99999999999999999999999"), "integer of at least 0"),
    row("prepare", "ml-100k: no rating", ("u.data", "no rating"), "give", f"movielens {SOURCE}", spoil=lambda desk: (write_100k(desk / "in"), (desk / "in/u.data").write_bytes(b""))[0]),
    large("a field fewer", "ratings.dat", 2, "1::10::5", ("ratings.dat:2", "3 fields"), "4"),
    large("a gender that is empty", "users.dat", 1, "1::::24::12::85711", ("users.dat:1", "gender"), "empty"),
    row("prepare", "taobao: a folder that is not there", ("--input_dir", "nowhere"), "give the folder", "taobao --input_dir nowhere --output_dir out"),
    ads("a file fewer", "ad_feature.csv", 1, None, ("--input_dir", "ad_feature.csv"), "give the folder"),
    ads("a header of other names", "raw_sample.csv", 1, "user,time,ad,pid,nonclk,clk", "raw_sample.csv", "time_stamp"),
    ads("a field fewer", "raw_sample.csv", 3, "1,2,3", "raw_sample.csv", "6"),
    ads("a word for a number", "raw_sample.csv", 3, "one,1494600000,11,430539_1007,0,1", ("raw_sample.csv", "one"), "int"),
    ads("an ad twice", "ad_feature.csv", 3, "12,1,10,100,7,170.0", ("ad_feature.csv", "12"), "twice"),
    ads("a price that is a word", "ad_feature.csv", 3, "10,1,10,100,7,cheap", ("ad_feature.csv", "cheap"), "double"),
    row("prepare", "taobao: no click", ("raw_sample.csv", "no"), "give", f"taobao {SOURCE}", spoil=lambda desk: (write_source(desk / "in"), (desk / "in/raw_sample.csv").write_text("user,time_stamp,adgroup_id,pid,nonclk,clk\n"))[0]),
]  # fmt: skip

TUTORIAL = [
    row("tutorial", "no process", ("--processes", "0"), "from 1", "--processes 0"),
    row("tutorial", "processes below 0", ("--processes", "-2"), "from 1", "--processes=-2"),
    row("tutorial", "a word for processes", ("--processes", "two"), "--help", "--processes two"),
    row("tutorial", "flags for the data with a quote that is not closed", "--prepare_flags", "quot", ("--prepare_flags", '"--seed 2')),
    row("tutorial", "flags for the data that are unknown", "unknown flag --sed", "--seed", ("--prepare_flags", "--sed 2")),
    row("tutorial", "edits that are no JSON", "--edit_config_json", "JSON", "--edit_config_json '{oops'"),
    row("tutorial", "files for generated data", "--input_dir", "demo", "--input_dir train"),
]  # fmt: skip

ROWS = [*FLAGS, *FILES, *TUTORIAL]
