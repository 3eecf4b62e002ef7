"""Exports a checkpoint as two TorchScript models, export_dir/user and export_dir/item.

    torchrun --nnodes=1 --nproc-per-node=2 -m tzrec.export \\
        --pipeline_config_path experiments/dssm_taobao_local/pipeline.config \\
        --export_dir experiments/dssm_taobao_local/export

Runs as plain `python -m tzrec.export` too; the first process does the work.
"""

from collections.abc import Sequence
from pathlib import Path

from tzrec.config import prepare
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.command import Parser, run
from tzrec.runtime.output import StagedFolder
from tzrec.runtime.progress import say
from tzrec.runtime.world import World
from tzrec.serving.files import find_assets
from tzrec.training import checkpoint


def main(argv: Sequence[str]) -> None:
    parser = Parser("tzrec.export", __doc__)
    parser.add_argument("--pipeline_config_path", required=True, help="model_dir/pipeline.config")
    parser.add_argument("--export_dir", required=True, help="a folder that does not exist yet")
    parser.add_argument(
        "--checkpoint_path",
        help="a checkpoint; by default the newest in model_dir, or the best with exporter_type: best",
    )
    parser.add_argument("--asset_files", help="files to copy into each exported folder, comma separated")
    arguments = parser.parse_args(argv)
    loaded = prepare(arguments.pipeline_config_path)
    pipeline = loaded.message
    assets = find_assets(arguments.asset_files, pipeline)
    world = World.from_environment()
    for note in loaded.notes:
        say(world, note)
    # One process has all to do. The others must not look at export_dir, which it is making.
    if world.is_first:
        with StagedFolder(arguments.export_dir, "--export_dir", World()) as folder:
            export(pipeline, arguments.checkpoint_path, assets, folder)


def export(
    pipeline: EasyRecConfig, checkpoint_path: str | None, assets: list[Path], folder: StagedFolder
) -> None:
    """Writes both towers of a checkpoint into the folder, which has begun, reads them back and runs them.

    Raises:
        UserError: no checkpoint, or one that does not fit the configuration.
        OSError: a file that cannot be written; the folder is removed.
        RuntimeError: what was read back gives other vectors than the model; likewise.
    """
    chosen = choose(pipeline, checkpoint_path)

    from tzrec.serving.bundle import write_bundle
    from tzrec.serving.readback import read_back
    from tzrec.serving.split import load_model, split

    model = load_model(pipeline, chosen)
    with folder.writing():
        for name, tower in split(model).items():
            write_bundle(folder.path / name, tower, pipeline, assets)
            read_back(folder.path / name, tower)
    folder.finish()
    say(World(), f"exported {chosen} to {folder.final / 'user'} and {folder.final / 'item'}")


def choose(pipeline: EasyRecConfig, checkpoint_path: str | None) -> Path:
    """The checkpoint that is named, else the best or the newest as the configuration says."""
    config = pipeline.export_config
    if not checkpoint_path and config.exporter_type == "best":
        found = checkpoint.best(
            pipeline.model_dir, config.best_exporter_metric, config.metric_larger_is_better
        )
        if found:
            return found
    return checkpoint.find(pipeline.model_dir, checkpoint_path)


if __name__ == "__main__":
    run("tzrec.export", main)
