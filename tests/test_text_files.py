"""Text files are UTF-8 and terminals take any name, in every locale.

Attack that is repeated here: all commands, with names of features outside ASCII, under LC_ALL=C with
PYTHONUTF8=0, where Python's own choice of encoding is ASCII.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*(ROOT / "tzrec").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), ROOT / "setup.py"]


def without_encoding(source: str) -> Iterator[int]:
    """Lines that open, read or write a text file and leave the encoding to the locale."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        words += [word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)]
        modes = [word for word in words if isinstance(word, str) and word and not set(word) - set("rwaxbt+")]
        is_method = isinstance(called, ast.Attribute)
        # Others have methods named open, too: one of a path opens text where a mode says so.
        is_open = name in ("fdopen", "TextIOWrapper") or (name == "open" and (modes or not is_method))
        is_binary = any("b" in mode for mode in modes)
        if (name in ("read_text", "write_text") and is_method) or (is_open and not is_binary):
            yield node.lineno


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("open(x)", 1),
        ("open(x, 'a')", 1),
        ("open(x, mode='w', newline='')", 1),
        ("path.open('w')", 1),
        ("(a / b).read_text()", 1),
        ("path.write_text('b')", 1),
        ("os.fdopen(3, 'w')", 1),
        ("open(x, 'rb'); open(x, mode='xb'); path.open('wb'); Bundle.open(x); path.read_bytes()", 0),
        ("open(x, encoding='utf-8'); path.read_text(encoding='utf-8')", 0),
    ],
)
def test_the_search_finds_what_it_should(source: str, count: int) -> None:
    assert len(list(without_encoding(source))) == count


def test_text_is_read_and_written_as_utf8() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if not path.name.endswith("_pb2.py")
        for line in without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert found == []
