"""Rows with two processes: one of them says the line, and none is left hanging."""

# ruff: noqa: E501 (tables: a row an attack)

from dataclasses import replace

from tests.bad_input import (
    checkpoints,
    configurations,
    exports,
    features,
    flags,
    negatives,
    outputs,
    surroundings,
    tables,
    vectors,
)
from tests.bad_input.row import Row, row

# Rows of the other tables that are run with two processes too.
AGAIN = {
    "train: the misspelt flag --model_dirr x",
    "train: a training table that is not there",
    "train: a field misspelt",
    "train: an edit out of range",
    "train: a column that is not there",
    "train: a pool of a header only",
    "train: an attribute too few",
    "train: a gzip file cut",
    "train: a parquet file whose pages are overwritten",
    "train: words for numbers",
    "train: no row to train on",
    "train: an existing model_dir",
    "train: a cache that is a file",
    "train: --model_dir a file",
    "train: TZREC_PATIENCE='soon'",
    "train: a checkpoint without .metadata",
    "train: a checkpoint with a part cut",
    "train: no room for a checkpoint",
    "eval: an evaluation table that is not there",
    "eval: a checkpoint state.json cut",
    "eval: words for numbers",
    "export: a checkpoint that is not there",
    "export: --export_dir a folder that holds something",
    "export: a checkpoint with a part of no byte",
    "predict: a kept column that is not there",
    "predict: a parquet file cut in the middle",
    "predict: a second file with another type",
    "predict: --predict_output_path a folder that holds something",
    "predict: an exported scripted_model.pt cut",
    "predict: structures for numbers",
    "hitrate: a user vector with a NaN",
    "hitrate: an item id twice",
    "hitrate: an item vector of another width",
    "hitrate: --total_hitrate_output a folder that holds something",
    "hitrate: no ground truth",
    "hitrate: no room for the vectors to search",
    "index: an item id twice",
}

_OTHERS = [
    one
    for table in (
        checkpoints,
        configurations,
        exports,
        features,
        flags,
        negatives,
        outputs,
        surroundings,
        tables,
        vectors,
    )
    for one in table.ROWS
]

ROWS: list[Row] = [
    *(replace(one, ranks=2) for one in _OTHERS if one.name in AGAIN),
    # Only the second rank reads this file to its end, and only the first one reads the other.
    row("train", "pages that one rank reads are overwritten", ("train/b.parquet", tables.UNREADABLE), "copy this one again", spoil=tables.overwritten("train/b.parquet", 4, 2000), ranks=2, leaves=("model/model.ckpt-*", "model/model.ckpt-*/*", "model/train_eval_result.txt")),
    row("train", "one row for two processes", ("train_input_path", "1 rows"), "start fewer", spoil=lambda desk: (desk.remove("train/b.parquet"), tables.changed("train/a.parquet", lambda table: table.slice(0, 1))(desk))[0], ranks=2),
    row("predict", "pages that one rank reads are overwritten", ("eval/b.parquet", tables.UNREADABLE), "copy this one again", spoil=tables.overwritten("eval/b.parquet", 4, 2000), ranks=2),
    row("hitrate", "a vector that one rank reads is no vector", ("--user_gt_input", "row 450"), "must be finite", spoil=tables.everywhere("user_emb", vectors.one("user_tower_emb", 450, [float("nan")] * 8)), ranks=2),
]  # fmt: skip

assert {one.name for one in _OTHERS} >= AGAIN, AGAIN - {one.name for one in _OTHERS}
