"""Coverage-guided fuzzing of the configuration loader and of the feature layer, with atheris.

    pip install atheris
    python -m tests.fuzz config -max_total_time=60
    python -m tests.fuzz features -max_total_time=60

Ends at the first input that gives anything but an answer or a UserError, or that takes more than 5 seconds
(-timeout=5). What follows the target goes to libFuzzer. `tests/features/test_fuzz.py` is the part of this
that runs with the other tests.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tzrec.config", "tzrec.features"]):
    from tests import every_feature
    from tests.features.support import build
    from tests.features.test_fuzz import seed_text
    from tzrec.config import load_pipeline, validate
    from tzrec.features.graph import columns_of, compute_all
    from tzrec.runtime.errors import UserError

import pyarrow as pa

FOLDER = Path(tempfile.mkdtemp())
FEATURES = list(
    build(
        *every_feature.plain_blocks(every_feature.write_tokenizer(FOLDER / "tokenizer.json")).values(),
        *every_feature.sequence_blocks(FOLDER / "tokenizer.json").values(),
    ).values()
)


def config(data: bytes) -> None:
    """Any bytes as a configuration."""
    path = FOLDER / "a.config"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        validate(load_pipeline(str(path)), for_training=True)


def features(data: bytes) -> None:
    """Any text as the columns of any feature."""
    source = atheris.FuzzedDataProvider(data)
    feature = FEATURES[source.ConsumeIntInRange(0, len(FEATURES) - 1)]
    rows = source.ConsumeIntInRange(0, 3)
    columns = {}
    for name in columns_of([feature]):
        texts = [source.ConsumeUnicodeNoSurrogates(24) for _ in range(rows)]
        columns[name] = pa.array([text or None for text in texts], pa.string())
    with contextlib.suppress(UserError):
        compute_all([feature], columns)


if __name__ == "__main__":
    target = {"config": config, "features": features}[sys.argv.pop(1)]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_text(seed_text())
    atheris.Setup([*sys.argv, "-timeout=5", str(corpus)], target)
    atheris.Fuzz()
