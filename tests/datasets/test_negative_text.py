"""Texts of the table: any block size reads what a plain parser reads, and every mistake has its line."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tzrec.datasets.attributes import AttributeType, Place, from_text
from tzrec.datasets.negative_table import NegativeTable, open_table
from tzrec.runtime.errors import UserError

HEADER = "id:int64\tweight:float\tattrs:string"
TYPES = [
    AttributeType("count", pa.int32(), "\x1d"),
    AttributeType("price", pa.float64(), "\x1d"),
    AttributeType("name", pa.string(), "|"),
    AttributeType("tags", pa.list_(pa.string()), "\x1d"),
    AttributeType("places", pa.list_(pa.int64()), "\x1d", "\x03"),
    AttributeType("likes", pa.map_(pa.string(), pa.float32()), "\x1d"),
]
# Whatever is no delimiter; a quote character is a letter like any other.
WORD = st.text("ab\"',é漢 #", max_size=4)


def read(content: bytes, types=TYPES, block: int = 1 << 20, delimiter: str = "\x02") -> NegativeTable:
    """The table of a file."""
    with tempfile.TemporaryDirectory() as folder:
        return read_in(Path(folder), content, types, block, delimiter)


def read_in(folder: Path, content: bytes, types, block: int, delimiter: str) -> NegativeTable:
    (folder / "table.txt").write_bytes(content)
    return open_table(str(folder / "table.txt"), types, delimiter, "\t", folder / "cache", block)


def mistake(content: bytes, types=TYPES, block: int = 1 << 20, delimiter: str = "\x02") -> str:
    """What is said of a file, in one line; nothing of it is left in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(UserError) as caught:
            read_in(Path(folder), content, types, block, delimiter)
        left = [entry.name for entry in (Path(folder) / "cache").iterdir()]
    assert left == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(table: NegativeTable) -> list[dict]:
    taken = table.take(np.arange(len(table)), [kind.name for kind in TYPES])
    return pa.table(taken).to_pylist()


def written(values: list, separator: str = "\x1d") -> str:
    return separator.join(map(str, values))


@st.composite
def lines(draw) -> tuple[str, dict]:
    """The attributes of an item as text, and what they mean."""
    count = draw(st.none() | st.integers(-(2**31), 2**31 - 1))
    price = draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))
    names = draw(st.lists(WORD, min_size=1, max_size=3))
    tags = draw(st.lists(WORD, max_size=3).filter(lambda tags: tags != [""]))
    places = draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3))
    likes = draw(st.dictionaries(WORD, st.integers(-9, 9), max_size=3))
    attributes = [
        "" if count is None else draw(st.sampled_from([str(count), f" {count}"])),
        "" if price is None else repr(price),
        written(names),
        written(tags),
        written(places, draw(st.sampled_from("\x1d\x03"))),
        written([f"{key}:{value}" for key, value in likes.items()]),
    ]
    meaning = {
        "count": count,
        "price": price,
        "name": "|".join(names),
        "tags": tags,
        "places": places,
        "likes": [(key, float(value)) for key, value in likes.items()],
    }
    return "\x02".join(attributes), meaning


ITEM = st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(0, 1e300), lines())


@settings(deadline=None, max_examples=40)
@given(
    st.lists(ITEM, min_size=1, max_size=8, unique_by=lambda item: item[0]),
    st.integers(1, 200),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_any_table_in_blocks_of_any_size(items, block, end, last, packed) -> None:
    content = end.join([HEADER, *(f"{key}\t{weight!r}\t{text}" for key, weight, (text, _) in items)])
    content = (content + end * last).encode()
    weights = [weight for _, weight, _ in items]
    if not any(weights):
        assert "weights are zero" in mistake(content, block=block)
        return
    table = read(gzip.compress(content, 1) if packed else content, block=block)
    assert table.weights.tolist() == weights
    assert rows(table) == [meaning for _, _, (_, meaning) in items]
    ids = pa.array([items[-1][0], None, items[0][0]])
    assert table.row_of_each(ids).tolist() == [len(items) - 1, -1, 0]


def test_every_type_of_a_training_column() -> None:
    kinds = {
        pa.bool_(): ("True", True),
        pa.int32(): ("+5", 5),
        pa.int64(): ("-5", -5),
        pa.float32(): ("+.5", 0.5),
        pa.large_string(): ("x", "x"),
        pa.list_(pa.int32()): ("1\x1d2", [1, 2]),
        pa.list_(pa.bool_()): ("0\x1d1", [False, True]),
        pa.large_list(pa.float64()): ("1e1", [10.0]),
        pa.list_(pa.list_(pa.int64())): ("1\x1d2;3", [[1, 2], [3]]),
        pa.list_(pa.list_(pa.string())): ("", []),
        pa.map_(pa.string(), pa.string()): ("a:b:c\x1dd:", [("a", "b:c"), ("d", "")]),
        pa.map_(pa.int64(), pa.float64()): ("1:0.5\x1d2:", [(1, 0.5), (2, None)]),
        pa.map_(pa.int32(), pa.int64()): ("", []),
    }
    types = [AttributeType(f"a{number}", kind, "\x1d") for number, kind in enumerate(kinds)]
    text = "\x02".join(text for text, _ in kinds.values())
    taken = read(f"{HEADER}\n1\t1\t{text}\n".encode(), types).take(
        np.array([0]), [kind.name for kind in types]
    )
    assert [column.type for column in taken.values()] == list(kinds)
    assert [column.to_pylist()[0] for column in taken.values()] == [value for _, value in kinds.values()]


def test_lists_of_one_length() -> None:
    kind = AttributeType("v", pa.list_(pa.float32(), 2), "\x1d")
    place = Place("items.txt", 2)
    taken = from_text(pa.array(["1\x1d2", "", "3\x1d4"]), kind, place)
    assert (taken.type, taken.to_pylist()) == (kind.type, [[1.0, 2.0], None, [3.0, 4.0]])
    with pytest.raises(UserError, match=r'items\.txt:3: attribute "v": .*is not 2 values'):
        from_text(pa.array(["1\x1d2", "1\x1d2\x1d3"]), kind, place)


PAIR = [AttributeType("n", pa.int32(), "\x1d"), AttributeType("f", pa.list_(pa.float32()), "\x1d")]
BAD = {
    "two columns": ("8\t1", "2 columns where id, weight, attrs make 3"),
    "four columns": ("8\t1\t1,2\tx", "4 columns where"),
    "an empty line": ("", "an empty line where id, weight, attrs make 3 columns"),
    "empty columns": ("\t\t", "an empty id"),
    "no weight": ("8\t\t1,2", "an empty weight"),
    "a word as weight": ("8\tmuch\t1,2", "the weight 'much' is no double"),
    "weight nan": ("8\tnan\t1,2", "the weight 'nan' is no double"),
    "weight inf": ("8\tinf\t1,2", "the weight 'inf' is no double"),
    "weight too large": ("8\t1e999\t1,2", "the weight '1e999' is outside the range of double"),
    "weight below 0": ("8\t-0.5\t1,2", "the weight -0.5 is negative"),
    "no id": ("\t1\t1,2", "an empty id"),
    "blank id": (" \t1\t1,2", "the id is missing"),
    "a word as id": ("x\t1\t1,2", "the id 'x' is no int64"),
    "hexadecimal id": ("0x10\t1\t1,2", "the id '0x10' is no int64"),
    "fractional id": ("1.5\t1\t1,2", "the id '1.5' is no int64"),
    "id beyond int64": (f"{2**63}\t1\t1,2", f"the id '{2**63}' is outside the range of int64"),
    "id of many digits": (f"{10**30}\t1\t1,2", f"the id '{10**30}' is outside the range of int64"),
    "id twice": ("1\t1\t1,2", "the id 1 stands twice"),
    "too few attributes": ("8\t1\t1", "1 attributes where attr_fields names 2 (n, f): '1'"),
    "too many attributes": ("8\t1\t1,2,3", "3 attributes where"),
    "no attribute": ("8\t1\t", "1 attributes where"),
    "a word as number": ("8\t1\tone,2", "attribute \"n\": 'one' is no int32"),
    "fraction as integer": ("8\t1\t1.0,2", "attribute \"n\": '1.0' is no int32"),
    "beyond int32": (f"8\t1\t{2**31},2", f"attribute \"n\": '{2**31}' is outside the range of int32"),
    "a word in a list": ("8\t1\t1,2\x1dtwo", "attribute \"f\": 'two' is no float"),
    "beyond float": ("8\t1\t1,1e39", "attribute \"f\": '1e39' is outside the range of float"),
    "carriage return": ("8\t1\t1,2\r3", "a carriage return within the line"),
}


@pytest.mark.parametrize("block", [1, 40, 1 << 20])
@pytest.mark.parametrize("before", [1, 9])
@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_told_with_its_line(name: str, before: int, block: int) -> None:
    line, message = BAD[name]
    good = [f"{number}\t1\t1,2" for number in range(1, before + 1)]
    content = "\n".join([HEADER, *good, line, "77\t1\t1,2"])
    found = mistake(content.encode(), PAIR, block, ",")
    assert f"table.txt:{before + 2}: {message}" in found


@pytest.mark.parametrize("block", [1, 30, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_empty_line_at_the_end(end: str, block: int) -> None:
    content = end.join([HEADER, "1\t1\t1,2", "2\t1\t1,2", "", ""]).encode()
    assert "table.txt:4: an empty line where" in mistake(content, PAIR, block, ",")


@pytest.mark.parametrize("block", [1, 30, 1 << 20])
def test_bytes_that_are_not_utf8(block: int) -> None:
    start = HEADER.encode() + b"\n1\t1\ta\n2\t1\tb\n"
    types = [AttributeType("name", pa.string(), "\x1d")]
    found = mistake(start + b"3\t1\t\xff\xfec\n4\t1\td\n", types, block)
    assert r"table.txt:4: the bytes b'\xff\xfec\n' are not UTF-8" in found


WHOLE = {
    "empty": (b"", "is empty"),
    "header only": (HEADER.encode(), "the negative table has no item"),
    "no header": (b"1\t1\ta\n", "table.txt:1: the header is '1\\t1\\ta'"),
    "byte order mark": (b"\xef\xbb\xbf" + HEADER.encode(), "table.txt:1: the header is '\\ufeff"),
    "header not UTF-8": (b"\xff\xfei\x00d\x00", "table.txt:1: the bytes b'\\xff\\xfei\\x00' are not UTF-8"),
    "weights zero": (HEADER.encode() + b"\n1\t0\ta\n2\t0\tb\n", "all 2 weights are zero"),
    "truncated gzip": (
        gzip.compress(HEADER.encode() + b"\n" + b"".join(b"%d\t1\ta\n" % n for n in range(5000)))[:-20],
        "gzip-compressed and broken",
    ),
    "corrupt gzip": (gzip.compress(HEADER.encode() + b"\n1\t1\ta\n")[:-8] + b"12345678", "and broken (CRC"),
    "no gzip after all": (b"\x1f\x8b and more", "gzip-compressed and broken"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_wrong_as_a_whole(name: str) -> None:
    content, message = WHOLE[name]
    assert message in mistake(content, [AttributeType("name", pa.string(), "\x1d")])


def test_text_ids_and_a_pair_of_them_that_is_one() -> None:
    header = HEADER.replace("int64", "string")
    types = [AttributeType("name", pa.string(), "\x1d")]
    table = read(f"{header}\nab\t1\tx\n7\t2\ty\n".encode(), types)
    assert table.row_of_each(pa.array(["7", "z", None, "ab"])).tolist() == [1, -1, -1, 0]
    assert table.row_of_each(pa.array([7, 8])).tolist() == [1, -1]
    found = mistake(f"{header}\nab\t1\tx\n7\t2\ty\nab\t1\tx\n".encode(), types, block=1)
    assert "table.txt:4: the id ab stands twice" in found
