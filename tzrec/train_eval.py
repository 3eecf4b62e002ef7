"""Trains a model, saves checkpoints, evaluates at each of them and at the end.

    torchrun --nnodes=1 --nproc-per-node=2 -m tzrec.train_eval \\
        --pipeline_config_path configs/dssm_taobao_local.config \\
        --train_input_path 'data/taobao_data_recall_train/*.parquet' \\
        --eval_input_path 'data/taobao_data_recall_eval/*.parquet' \\
        --model_dir experiments/dssm_taobao_local \\
        --edit_config_json '{"data_config.negative_sampler.input_path":"data/taobao_ad_feature_gl"}'

Runs as plain `python -m tzrec.train_eval` too. Ends with the last checkpoint in model_dir.

SIGTERM and Ctrl-C finish the step, save and end the run; the same command with --continue_train
goes on from there, with the losses that it would have had. A run that torchrun starts again
(--max-restarts) goes on by itself. What each failure looks like: docs/operations.md.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tzrec.config import Loaded, check_device, prepare, to_text
from tzrec.datasets.files import expand
from tzrec.datasets.tables import suffixes
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.command import Parser, run
from tzrec.runtime.errors import UserError
from tzrec.runtime.places import local_folder
from tzrec.runtime.progress import duration, say
from tzrec.runtime.world import World
from tzrec.training import checkpoint
from tzrec.training.ownership import only_run_in


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("tzrec.train_eval", __doc__)
    parser.add_argument("--pipeline_config_path", required=True, help="configuration, .config or .json")
    parser.add_argument("--train_input_path", help="training table; instead of the configuration's")
    parser.add_argument("--eval_input_path", help="evaluation table; instead of the configuration's")
    parser.add_argument("--model_dir", help="where checkpoints go; instead of the configuration's")
    parser.add_argument("--edit_config_json", help='changes to the configuration: {"path": value, ...}')
    parser.add_argument("--continue_train", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--fine_tune_checkpoint", help="a checkpoint whose parameters to begin with")
    parser.add_argument(
        "--ignore_restore_optimizer",
        action="store_true",
        help="take only the parameters of a checkpoint, not the state of its optimizers",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    arguments = parse(argv)
    loaded = prepare(
        arguments.pipeline_config_path,
        edits=arguments.edit_config_json,
        overrides={
            "train_input_path": arguments.train_input_path,
            "eval_input_path": arguments.eval_input_path,
            "model_dir": arguments.model_dir,
            "fine_tune_checkpoint": arguments.fine_tune_checkpoint,
        },
        for_training=True,
    )
    pipeline = loaded.message
    world = World.from_environment()
    for note in loaded.notes:
        say(world, note)
    local_folder(pipeline.model_dir, "model_dir" if arguments.model_dir is None else "--model_dir")
    # Cheap mistakes are told before the second that importing torch takes.
    for flag in ("train_input_path", "eval_input_path"):
        expand(getattr(pipeline, flag), suffixes(pipeline.data_config), flag)
    if kind := pipeline.data_config.WhichOneof("sampler"):
        for field, value in getattr(pipeline.data_config, kind).ListFields():
            if field.name.endswith("input_path"):
                expand(value, flag=f"{kind}.{field.name}")
    with only_run_in(Path(pipeline.model_dir), world) as alone:
        origin = choose(pipeline, arguments.continue_train or bool(world.restarts))
        train(loaded, world, origin, not arguments.ignore_restore_optimizer, alone)


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a run begins with: to go on from or to fine-tune; None for neither."""

    newest: Path | None = None
    fine_tuned: Path | None = None


def choose(pipeline: EasyRecConfig, go_on: bool) -> Origin:
    """What a run begins with.

    Raises:
        UserError: a model_dir that holds a checkpoint although the run is to start anew.
        DamagedError: the checkpoint has no readable state.json.
    """
    model_dir = pipeline.model_dir
    newest = checkpoint.newest(model_dir)
    if newest and not go_on:
        raise UserError(
            f"{model_dir}: already holds {newest.name}; give --continue_train to go on from it, "
            "or another --model_dir"
        )
    if newest:
        checkpoint.read_facts(newest)
        return Origin(newest=newest)
    asked = pipeline.train_config.fine_tune_checkpoint
    return Origin(fine_tuned=checkpoint.find(asked, asked) if asked else None)


def train(loaded: Loaded, world: World, origin: Origin, restore_optimizer: bool, alone: bool) -> None:
    """Trains as the configuration says. Collective.

    Args:
        loaded: the configuration.
        world: the place of this process.
        origin: what the run begins with.
        restore_optimizer: take the state of the optimizers along.
        alone: no other run can be under way in model_dir.

    Raises:
        UserError: a checkpoint that does not fit, or what the parts raise.
        DamagedError: a checkpoint that is not whole.
    """
    from tzrec.datasets.build import build_loader
    from tzrec.models.build import in_batch_options
    from tzrec.runtime.processes import barrier, gather, leave_group
    from tzrec.training.build import Session, build_plan
    from tzrec.training.fine_tune import begin_from, read_param_map
    from tzrec.training.loop import Trainer
    from tzrec.training.placement import describe_plan, show_plan
    from tzrec.training.sharding import choose_device
    from tzrec.training.state import evaluates_like, restore, take_over
    from tzrec.training.step import Stepper

    started = time.perf_counter()
    pipeline = loaded.message
    check_device(loaded, choose_device(world).type)
    model_dir = Path(pipeline.model_dir)
    mapped = pipeline.train_config.fine_tune_ckpt_param_map
    names = read_param_map(mapped) if mapped and origin.fine_tuned else {}
    session = Session.begin(pipeline, world)
    layout = session.towers.layout
    data = pipeline.data_config
    in_batch = in_batch_options(pipeline)
    batches = build_loader(data, layout, world, pipeline.train_input_path, in_batch=in_batch)
    test = build_loader(data, layout, world, pipeline.eval_input_path, evaluation=True, in_batch=in_batch)
    # Every rank has come this far: what follows writes.
    barrier(world)
    checkpoint.remove_cut_off(model_dir, world, alone)
    plan, position, unevaluated = build_plan(pipeline), checkpoint.Position(), False
    optimizers = session.optimizers if restore_optimizer else None
    if origin.newest:
        facts, began = restore(origin.newest, session.model, optimizers)
        position, note = take_over(batches, facts)
        unevaluated = not facts.metrics and evaluates_like(origin.newest, plan.average, restore_optimizer)
        say(world, f"going on from {origin.newest} at step {position.step}{note}{began}")
    elif origin.fine_tuned:
        note = begin_from(origin.fine_tuned, session.model, optimizers, names)
        say(world, f"beginning with the parameters of {origin.fine_tuned}{note}")
    if session.optimizers.average and (origin.fine_tuned or not restore_optimizer):
        session.optimizers.average.begin()
    if world.is_first:
        model_dir.mkdir(parents=True, exist_ok=True)
        checkpoint.replace_text(model_dir / "pipeline.config", to_text(pipeline))
    trainer = Trainer(
        model=session.model,
        stepper=Stepper(session.model, session.optimizers, session.objective, session.clip),
        train=batches,
        test=test,
        features=session.features,
        plan=plan,
        model_dir=model_dir,
        world=world,
        device=session.device,
        position=position,
        unevaluated=unevaluated,
    )
    say(
        world,
        f"training on {batches.table.num_rows} rows, {batches.steps} steps a pass, {trainer.last_step} steps "
        f"in all, {world.size} processes on {session.device.type}, {batches.workers} loader threads each",
    )
    say(world, show_plan(describe_plan(session.model)))
    first = position.step
    if trainer.run():
        seconds, rows = time.perf_counter() - started, sum(gather(world, trainer.log.all_rows))
        best = trainer.best()
        say(
            world,
            f"done: {trainer.position.step - first} steps, {rows} rows in {duration(seconds)} "
            f"({rows / seconds / 1000:.1f}k rows/s with all around them)"
            + (f", best {best[0]} {best[1]:.4f} at step {best[2]}" if best else "")
            + f", checkpoint {trainer.folder}",
        )
    leave_group()


if __name__ == "__main__":
    run("tzrec.train_eval", main)
