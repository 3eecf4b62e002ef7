"""Evaluates a checkpoint and appends the metrics to model_dir/eval_result.txt.

    torchrun --nnodes=1 --nproc-per-node=2 -m tzrec.eval \\
        --pipeline_config_path experiments/dssm_taobao_local/pipeline.config \\
        --eval_input_path 'data/taobao_data_recall_eval/*.parquet'

Runs as plain `python -m tzrec.eval` too.
"""

from collections.abc import Sequence
from pathlib import Path

from tzrec.config import check_device, prepare
from tzrec.datasets.files import expand
from tzrec.datasets.tables import suffixes
from tzrec.runtime.command import Parser, run
from tzrec.runtime.places import local_folder
from tzrec.runtime.progress import say
from tzrec.runtime.storage import writing
from tzrec.runtime.world import World
from tzrec.training import checkpoint


def main(argv: Sequence[str]) -> None:
    parser = Parser("tzrec.eval", __doc__)
    parser.add_argument("--pipeline_config_path", required=True, help="configuration, .config or .json")
    parser.add_argument("--checkpoint_path", help="a checkpoint; the newest in model_dir by default")
    parser.add_argument("--eval_input_path", help="evaluation table; instead of the configuration's")
    arguments = parser.parse_args(argv)
    loaded = prepare(arguments.pipeline_config_path, overrides={"eval_input_path": arguments.eval_input_path})
    world = World.from_environment()
    for note in loaded.notes:
        say(world, note)
    pipeline = loaded.message
    local_folder(pipeline.model_dir, "model_dir")
    expand(pipeline.eval_input_path, suffixes(pipeline.data_config), "eval_input_path")
    folder = checkpoint.find(pipeline.model_dir, arguments.checkpoint_path)

    from tzrec.datasets.build import EVALUATION, build_loader
    from tzrec.features.feature import outside_lines
    from tzrec.models.build import in_batch_options
    from tzrec.runtime.processes import leave_group
    from tzrec.training.build import Session
    from tzrec.training.evaluate import evaluate, show_metrics
    from tzrec.training.loop import append_line
    from tzrec.training.sharding import choose_device
    from tzrec.training.state import dense_parameters, load_average, restore

    check_device(loaded, choose_device(world).type, training=False)
    session = Session.begin(pipeline, world)
    loader = build_loader(
        pipeline.data_config,
        session.towers.layout,
        world,
        pipeline.eval_input_path,
        evaluation=True,
        in_batch=in_batch_options(pipeline),
    )
    facts, note = restore(folder, session.model, None)
    if note:
        say(world, f"{folder}{note}")
    settings = pipeline.eval_config
    if settings.use_dense_ema:
        load_average(folder, dense_parameters(session.model))
    metrics = evaluate(
        session.model,
        loader,
        session.objective,
        world,
        session.device,
        settings.num_steps,
        settings.log_step_count_steps,
    )
    for line in outside_lines(session.features, EVALUATION):
        print(f"rank {world.rank}: {line}", flush=True)
    # Said first: then a disk that refuses the file does not lose them.
    say(world, f"{folder} | {show_metrics(metrics)}")
    if world.is_first:
        model_dir = Path(pipeline.model_dir)
        with writing(f"model_dir: {model_dir}"):
            model_dir.mkdir(parents=True, exist_ok=True)
            append_line(model_dir / "eval_result.txt", {"global_step": facts.position.step, **metrics})
    leave_group()


if __name__ == "__main__":
    run("tzrec.eval", main)
