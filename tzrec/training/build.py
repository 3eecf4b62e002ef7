"""The border: a pipeline configuration becomes a model on its device, a plan and an objective."""

from dataclasses import dataclass

import torch
from torchrec.distributed.model_parallel import DistributedModelParallel

from tzrec.datasets.rows import SEED
from tzrec.features.build import build_features, read_limits
from tzrec.features.feature import Feature
from tzrec.models.build import TwoTowers, build_model, tower_features
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.protos.train_pb2 import GradClipping, TrainConfig
from tzrec.runtime.errors import UserError
from tzrec.runtime.memory import keep_freed_memory
from tzrec.runtime.world import World, compute_threads
from tzrec.training.evaluate import Objective
from tzrec.training.loop import Plan
from tzrec.training.optimizer import Optimizers, build_fused, build_parts
from tzrec.training.placement import limits_of, make_plan
from tzrec.training.schedule import build_schedule
from tzrec.training.sharding import choose_device, join, prepare_tables, shard
from tzrec.training.step import Clip, clip_norm, clip_value, use_exact_onednn

# What the dense layers compute in, by train_config.mixed_precision; parameters stay float32.
PRECISION = {"": None, "BF16": torch.bfloat16, "FP16": torch.float16}


@dataclass
class Session:
    """A sharded model with all that training and evaluation share.

    Attributes:
        world, device: where this process runs.
        features: all features that the towers read.
        towers: the features of each tower.
        model: sharded.
        optimizers: of the model.
        objective: loss and metrics.
        clip: of the dense gradients, or None.
    """

    world: World
    device: torch.device
    features: list[Feature]
    towers: TwoTowers
    model: DistributedModelParallel
    optimizers: Optimizers
    objective: Objective
    clip: Clip | None

    @classmethod
    def begin(cls, pipeline: EasyRecConfig, world: World) -> "Session":
        """Joins the process group and builds everything. Collective."""
        torch.manual_seed(SEED + world.rank)
        device = choose_device(world)
        train = pipeline.train_config
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = train.cudnn_allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = train.cuda_matmul_allow_tf32
        else:
            keep_freed_memory()
            use_exact_onednn()
            if threads := compute_threads(world):
                torch.set_num_threads(threads)
        towers = tower_features(pipeline, build_features(pipeline.feature_configs, pipeline.data_config))
        features = list({feature.name: feature for feature in (*towers.user, *towers.item)}.values())
        model = build_model(pipeline, towers, table_device="meta")
        for tower in (model.user_tower, model.item_tower):
            tower.precision = PRECISION[train.mixed_precision]
        join(device)
        fused = build_fused(train.sparse_optimizer)
        prepare_tables(model, fused)
        limits = limits_of(towers.layout, read_limits(train.global_embedding_constraints), device)
        plan = make_plan(model, limits, world, device, pipeline.data_config.batch_size)
        sharded = shard(model, plan, world, device, fused)
        optimizers = Optimizers(
            sharded,
            build_schedule(train.sparse_optimizer),
            build_parts(train.dense_optimizer),
            train.dense_optimizer.ema.decay if train.dense_optimizer.HasField("ema") else None,
            build_scaler(train, device),
        )
        return cls(
            world,
            device,
            features,
            towers,
            sharded,
            optimizers,
            build_objective(pipeline),
            build_clip(train.grad_clipping),
        )


def build_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler | None:
    """The scaling of the loss for FP16 layers, with the defaults of `grad_scaler` where it is not set."""
    if config.mixed_precision != "FP16":
        return None
    scaler = config.grad_scaler
    return torch.amp.GradScaler(
        device.type, scaler.init_scale, scaler.growth_factor, scaler.backoff_factor, scaler.growth_interval
    )


def build_clip(config: GradClipping) -> Clip | None:
    """The clipping of dense gradients that a validated configuration asks for.

    Dense gradients are the same on every rank, so `enable_global_grad_clip`, the norm over all
    ranks instead of over this one, gives the same number either way.
    """
    if config.clipping_type == "norm":
        return clip_norm(config.max_gradient, config.norm_type)
    return clip_value(config.max_gradient) if config.clipping_type == "value" else None


def build_objective(pipeline: EasyRecConfig) -> Objective:
    """Loss and metrics of a validated configuration.

    Raises:
        UserError: more than one loss.
    """
    smoothing = [
        loss.softmax_cross_entropy.label_smoothing
        for loss in pipeline.model_config.losses
        if loss.HasField("softmax_cross_entropy")
    ]
    if len(smoothing) > 1:
        raise UserError(
            f"model_config.losses: {len(smoothing)} losses; this model has one label, give one loss"
        )
    top_ks = [
        metric.recall_at_k.top_k for metric in pipeline.model_config.metrics if metric.HasField("recall_at_k")
    ]
    return Objective(smoothing[0] if smoothing else 0.0, top_ks)


def build_plan(pipeline: EasyRecConfig) -> Plan:
    """When the run of a validated configuration logs, saves and ends."""
    train, evaluation, export = pipeline.train_config, pipeline.eval_config, pipeline.export_config
    by_epoch_only = train.save_checkpoints_epochs and not train.HasField("save_checkpoints_steps")
    return Plan(
        num_steps=train.num_steps,
        num_epochs=train.num_epochs,
        save_steps=0 if by_epoch_only else train.save_checkpoints_steps,
        save_epochs=train.save_checkpoints_epochs,
        log_steps=max(train.log_step_count_steps, 1),
        keep=train.keep_checkpoint_max,
        best_metric=export.best_exporter_metric if export.exporter_type == "best" else "",
        larger_is_better=export.metric_larger_is_better,
        eval_steps=evaluation.num_steps,
        eval_log_steps=evaluation.log_step_count_steps,
        tensorboard=train.use_tensorboard,
        summaries=tuple(train.tensorboard_summaries) or ("loss", "learning_rate"),
        profile=train.is_profiling,
        accumulated=max(train.gradient_accumulation_steps, 1),
        average=evaluation.use_dense_ema,
    )
