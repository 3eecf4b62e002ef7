"""The examples of docs/features.md give what they say."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.features.support import arrays, build, plain
from tzrec.features.graph import compute_all

TEXT = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```feature\n(.*?)\n```", TEXT, flags=re.DOTALL)


def test_every_type_has_an_example_or_is_tested_elsewhere() -> None:
    from tests.every_feature import FIELDS

    shown = {example.split(" ", 1)[0] for example in EXAMPLES}
    # A tokenizer needs a trained model: tests/features/test_text.py.
    assert set(FIELDS) - shown == {"tokenize_feature"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    block, *columns, result = example.splitlines()
    (feature,) = build(block).values()
    named = (line.split(" = ", 1) for line in columns)
    given = arrays({name: as_text(json.loads(values)) for name, values in named})
    expected = json.loads(result.removeprefix("-> "))
    got = plain(compute_all([feature], given)[feature.name])
    if expected and expected[0] and isinstance(expected[0][0], float):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    else:
        assert got == expected


def as_text(values: list) -> list:
    """A column has one type: numbers beside text are written as text."""
    if any(isinstance(value, str) for value in values):
        return [value if value is None else str(value) for value in values]
    return values
