"""Runs an exported tower over a table and writes a table of vectors.

    torchrun --nnodes=1 --nproc-per-node=2 -m tzrec.predict \\
        --scripted_model_path experiments/dssm_taobao_local/export/item \\
        --predict_input_path 'data/taobao_ad_feature/*.parquet' \\
        --predict_output_path experiments/dssm_taobao_local/item_emb \\
        --reserved_columns adgroup_id --output_columns item_tower_emb

Runs as plain `python -m tzrec.predict` too. Writes part-{rank}.parquet: the outputs, then the
reserved columns, row for row as in the input; and _SUCCESS with the number of rows.
"""

import argparse
from collections.abc import Sequence

from tzrec.datasets.files import expand
from tzrec.runtime.command import Parser, run, split_names
from tzrec.runtime.errors import UserError, nearest
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.progress import say
from tzrec.runtime.world import World


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("tzrec.predict", __doc__)
    parser.add_argument("--scripted_model_path", required=True, help="export_dir/user or export_dir/item")
    parser.add_argument("--predict_input_path", required=True, help="the table to read")
    parser.add_argument("--predict_output_path", required=True, help="a folder that does not exist yet")
    parser.add_argument("--reserved_columns", help="input columns to keep, comma separated, or ALL_COLUMNS")
    parser.add_argument(
        "--output_columns", help="outputs of the model to write, comma separated; default all"
    )
    parser.add_argument("--batch_size", type=int, help="rows at a time; the configuration's by default")
    parser.add_argument("--predict_threads", type=int, help="threads that run the model side by side")
    parser.add_argument("--predict_steps", type=int, help="stop after so many batches of each process")
    parser.add_argument("--dataset_type", default="ParquetDataset", help="ParquetDataset")
    parser.add_argument("--writer_type", default="ParquetWriter", help="ParquetWriter")
    parser.add_argument("--edit_config_json", help="changes to the exported configuration")
    parser.add_argument(
        "--is_profiling", action="store_true", help="write a trace for Chrome or Perfetto beside the output"
    )
    parser.add_argument(
        "--debug_level",
        type=int,
        default=0,
        help="1 adds a column debug_features with what each feature was computed to, as JSON",
    )
    arguments = parser.parse_args(argv)
    for flag, allowed in (("dataset_type", "ParquetDataset"), ("writer_type", "ParquetWriter")):
        given = getattr(arguments, flag)
        if given != allowed:
            raise UserError(f"--{flag}: {given} is not built in this version; {allowed} is")
    for flag in ("batch_size", "predict_threads", "predict_steps"):
        given = getattr(arguments, flag)
        if given is not None and given < 1:
            raise UserError(f"--{flag}: {given} is not allowed; give 1 or more")
    for flag in ("output_columns", "reserved_columns"):
        names = split_names(getattr(arguments, flag))
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f'--{flag}: "{twice[0]}" stands there twice; give each name once')
    return arguments


def main(argv: Sequence[str]) -> None:
    arguments = parse(argv)
    expand(arguments.predict_input_path, (".parquet",), "--predict_input_path")
    world = World.from_environment()
    with StagedFolder(arguments.predict_output_path, "--predict_output_path", world) as folder:
        predict(arguments, world, folder)


def predict(arguments: argparse.Namespace, world: World, folder: StagedFolder) -> None:
    """Writes the vectors into the folder, which has begun, and finishes it. Collective."""
    import torch

    from tzrec.runtime.processes import leave_group
    from tzrec.serving.bundle import Bundle
    from tzrec.serving.files import CHECKSUMS
    from tzrec.serving.predictor import Predictor

    device = torch.device("cuda", world.local_rank) if torch.cuda.is_available() else torch.device("cpu")
    bundle = Bundle.open(arguments.scripted_model_path, device, arguments.edit_config_json)
    if not bundle.sealed:
        say(world, f"{arguments.scripted_model_path} has no {CHECKSUMS}: damage of its files may go unseen")
    outputs = split_names(arguments.output_columns) or bundle.outputs
    for name in outputs:
        if name not in bundle.outputs:
            raise UserError(
                f'--output_columns: the model has no output "{name}"{nearest(name, bundle.outputs)}; '
                f"it has: {', '.join(bundle.outputs)}"
            )
    predictor = Predictor(
        bundle,
        arguments.predict_input_path,
        split_names(arguments.reserved_columns),
        outputs,
        world,
        batch_size=arguments.batch_size or bundle.pipeline.data_config.batch_size,
        threads=arguments.predict_threads or 0,
        debug=arguments.debug_level > 0,
    )
    # Threads that run the model side by side share the cores: each takes its part within a product.
    torch.set_num_threads(max(1, torch.get_num_threads() // max(1, predictor.loader.workers)))
    predictor.run(folder, arguments.predict_steps, arguments.is_profiling)
    leave_group()


if __name__ == "__main__":
    run("tzrec.predict", main)
