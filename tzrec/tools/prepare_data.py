"""Makes the tables and the configuration of a recall model from a source of data.

    python -m tzrec.tools.prepare_data demo --output_dir data/demo
    python -m tzrec.tools.prepare_data movielens --input_dir ml-100k --output_dir data/ml-100k
    python -m tzrec.tools.prepare_data taobao --input_dir taobao --output_dir data/taobao

demo       generated clicks with hidden tastes, columns as Taobao's
movielens  ml-100k or ml-1m as downloaded
taobao     "Ad Display/Click Data on Taobao" as downloaded

Each takes --help. Written: train/, eval/ and item/ (parquet), negatives.txt (GraphLearn) and
pipeline.config, ready to run.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tzrec.preparation.config_text import CONFIG
from tzrec.runtime.command import Parser, run
from tzrec.runtime.errors import UserError, nearest
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.progress import duration
from tzrec.runtime.world import World

MODULE = "tzrec.tools.prepare_data"
# A glob, a list or a backslash in the folder's name would not be read back as it was written.
FORBIDDEN = ",*?[]\\\n"
TABLES = {"train": "train/", "eval": "eval/", "item": "item/", "negatives": "negatives.txt"}

# What a source does with its flags: writes into a folder, returns rows by table.
Write = Callable[[argparse.Namespace, Path], dict[str, int]]


def _demo(flags: argparse.Namespace, folder: Path) -> dict[str, int]:
    from tzrec.preparation import demo

    size = demo.Size(flags.users, flags.items, flags.train_rows, flags.eval_users)
    return demo.write(folder, flags.output_dir, size, flags.seed, flags.negative_power)


def _movielens(flags: argparse.Namespace, folder: Path) -> dict[str, int]:
    from tzrec.preparation import movielens

    return movielens.write(
        folder, flags.output_dir, flags.input_dir, flags.history_length, flags.negative_power
    )


def _taobao(flags: argparse.Namespace, folder: Path) -> dict[str, int]:
    from tzrec.preparation import taobao

    return taobao.write(folder, flags.output_dir, flags.input_dir, flags.negative_power)


def _number(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is no integer') from None
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is too small; give at least {least}")
    return value


def _natural(text: str) -> int:
    return _number(text, 0)


def _positive(text: str) -> int:
    return _number(text, 1)


def _power(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f'"{text}" is no number from 0 to 10')
    return value


# 0 gives all items one weight. On ml-100k HR@50 rises with the power: docs/benchmarks.md has the row.
NEGATIVE_POWER = {"demo": 0.0, "movielens": 1.0, "taobao": 0.0}


def _parser(source: str) -> Parser:
    parser = Parser(f"{MODULE} {source}", f"Makes the tables and the configuration of the {source} data.")
    parser.add_argument("--output_dir", required=True, help="folder to make; must not hold anything yet")
    if source == "demo":
        sizes = (("users", 40_000), ("items", 30_000), ("train_rows", 400_000), ("eval_users", 20_000))
        for name, default in sizes:
            parser.add_argument(f"--{name}", type=_positive, default=default, help=f"default {default}")
        parser.add_argument("--seed", type=_natural, default=1, help="of all randomness; default 1")
    else:
        parser.add_argument("--input_dir", required=True, help="folder with the files as downloaded")
    if source == "movielens":
        parser.add_argument(
            "--history_length", type=_positive, default=50, help="items of a history at the most; default 50"
        )
    parser.add_argument(
        "--negative_power",
        type=_power,
        default=NEGATIVE_POWER[source],
        help=f"weight of a negative is (its rows in train + 1) ** this; default {NEGATIVE_POWER[source]}",
    )
    return parser


SOURCES: dict[str, Write] = {"demo": _demo, "movielens": _movielens, "taobao": _taobao}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags, with `source` beside them.

    Raises:
        UserError: an unknown source or flag, a missing or bad one.
    """
    if not argv or argv[0].startswith("-"):
        # Only --help is known here; any other flag has its place after the source.
        top = Parser(MODULE, __doc__ or "")
        top.usage = f"{MODULE} {{{','.join(SOURCES)}}} --output_dir DIR ..."
        if argv and argv[0] in ("-h", "--help"):
            top.parse_args(argv[:1])
        top.error(f"the first word must be the source: {', '.join(SOURCES)}")
    source = argv[0]
    if source not in SOURCES:
        raise UserError(
            f'unknown source "{source}"{nearest(source, SOURCES)}; there are {", ".join(SOURCES)}'
        )
    flags = _parser(source).parse_args(argv[1:])
    wrong = [character for character in FORBIDDEN if character in flags.output_dir]
    if wrong:
        raise UserError(
            f"--output_dir: {flags.output_dir!r} contains {wrong[0]!r}, which has a meaning of its own in "
            "the paths of a configuration; give another name"
        )
    flags.source = source
    return flags


def main(argv: Sequence[str]) -> None:
    flags = parse(argv)
    began = time.monotonic()
    with StagedFolder(flags.output_dir, "--output_dir", World(), last=CONFIG) as folder:
        with folder.writing():
            rows = SOURCES[flags.source](flags, folder.path)
        folder.finish()
    print(f"Written in {duration(time.monotonic() - began)}:")
    for name, path in TABLES.items():
        print(f"  {os.path.join(flags.output_dir, path):<40} {rows[name]:>12,} rows")
    config = os.path.join(flags.output_dir, CONFIG)
    print(f"  {config}")
    print("Next:")
    print("  torchrun --master_addr=localhost --master_port=32555 \\")
    print("      --nnodes=1 --nproc-per-node=2 --node_rank=0 \\")
    print(f"      -m tzrec.train_eval --pipeline_config_path {config}")


if __name__ == "__main__":
    run(MODULE, main)
