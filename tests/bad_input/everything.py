"""All rows of all tables."""

from tests.bad_input import (
    checkpoints,
    configurations,
    exports,
    features,
    flags,
    negatives,
    outputs,
    several,
    sources,
    surroundings,
    tables,
    vectors,
)

ROWS = [
    *flags.ROWS,
    *configurations.ROWS,
    *features.ROWS,
    *tables.ROWS,
    *negatives.ROWS,
    *vectors.ROWS,
    *checkpoints.ROWS,
    *exports.ROWS,
    *outputs.ROWS,
    *surroundings.ROWS,
    *sources.ROWS,
    *several.ROWS,
]
