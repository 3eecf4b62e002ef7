"""The exported folder of one tower: the model, the configuration, what its features are.

scripted_model.pt  pipeline.config  fg.json  model_acc.json  (+ asset files)
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from google.protobuf import json_format

from tzrec.config import prepare, to_text
from tzrec.config.walk import features as features_in
from tzrec.datasets.batch import serving_tensors
from tzrec.features.build import build_features
from tzrec.features.feature import Feature, in_order
from tzrec.features.graph import in_step
from tzrec.features.operators import vocab_path
from tzrec.features.outputs import Computed
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.errors import UserError
from tzrec.serving.tower import ServingTower, script

MODEL, CONFIG, FEATURES, ACCELERATION = (
    "scripted_model.pt",
    "pipeline.config",
    "fg.json",
    "model_acc.json",
)


def write_bundle(
    folder: Path, tower: ServingTower, pipeline: EasyRecConfig, assets: Sequence[Path] = ()
) -> None:
    """Writes the folder of one tower.

    Args:
        folder: is made; it is not there yet.
        tower: with its parameters.
        pipeline: the configuration it was trained with.
        assets: files that are copied into the folder.
    """
    folder.mkdir(parents=True)
    script(tower).save(str(folder / MODEL))
    pipeline = with_files(pipeline, folder)
    (folder / CONFIG).write_text(to_text(pipeline), encoding="utf-8")
    names = [feature.name for feature in in_order(tower.features)]
    (folder / FEATURES).write_text(json.dumps(describe(pipeline, names), indent=2, ensure_ascii=False))
    precision = pipeline.export_config.mixed_precision.lower() or "fp32"
    facts = {"format": "torchscript", "precision": precision, "quantized": False, "outputs": [tower.output]}
    (folder / ACCELERATION).write_text(json.dumps(facts, indent=2))
    for asset in assets:
        shutil.copy2(asset, folder / asset.name)


def describe(pipeline: EasyRecConfig, names: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    """The features of a tower with their configuration, for whoever computes them online.

    A feature of a sequence_feature has its full name and what the sequence_feature says of all.
    """
    by_name = {}
    for config in pipeline.feature_configs:
        kind = config.WhichOneof("feature")
        one = getattr(config, kind)
        if kind != "sequence_feature":
            by_name[one.feature_name] = {"feature_type": kind, **_fields(one)}
            continue
        shared = {name: value for name, value in _fields(one).items() if name != "features"}
        for inner in one.features:
            part = inner.WhichOneof("feature")
            fields = _fields(getattr(inner, part))
            full = f"{one.sequence_name}__{fields['feature_name']}"
            by_name[full] = {"feature_type": part, **fields, **shared, "feature_name": full}
    return {"features": [by_name[name] for name in names]}


def _fields(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def with_files(pipeline: EasyRecConfig, folder: Path) -> EasyRecConfig:
    """The configuration with the files that features read copied into the folder and named there."""
    carried = EasyRecConfig()
    carried.CopyFrom(pipeline)
    for _, feature, name in features_in(carried):
        if getattr(feature, "vocab_file", ""):
            path = vocab_path(feature)
            feature.vocab_file = f"{name}.{path.name}"
            feature.ClearField("asset_dir")
            shutil.copy2(path, folder / feature.vocab_file)
        if feature.DESCRIPTOR.name == "TokenizeFeature" and feature.text_normalizer.stop_char_file:
            path = Path(feature.text_normalizer.stop_char_file)
            feature.text_normalizer.stop_char_file = f"{name}.{path.name}"
            shutil.copy2(path, folder / feature.text_normalizer.stop_char_file)
    return carried


@dataclass
class Bundle:
    """An exported tower, ready to run.

    Attributes:
        model: TorchScript, frozen.
        features: those of the tower, in order.
        pipeline: the configuration.
        outputs: names of the tensors that the model returns.
        device: where the model is.
        aligned: names of features whose sequences are read together.
    """

    model: torch.jit.ScriptModule
    features: list[Feature]
    pipeline: EasyRecConfig
    outputs: list[str]
    device: torch.device
    aligned: list[list[str]]

    @classmethod
    def open(cls, path: str, device: torch.device, edits: str | None = None) -> "Bundle":
        """Reads an exported folder.

        Raises:
            UserError: a folder that holds no exported model, or one that cannot be read.
        """
        folder = Path(path)
        lost = [name for name in (MODEL, CONFIG, FEATURES) if not (folder / name).is_file()]
        if lost:
            inside = [name for name in ("user", "item") if (folder / name / MODEL).is_file()]
            hint = f"; give one of its towers: {' or '.join(str(folder / name) for name in inside)}"
            raise UserError(
                f"--scripted_model_path: {path} has no {', '.join(lost)}"
                + (hint if inside else "; give a folder that tzrec.export has written")
            )
        pipeline = prepare(str(folder / CONFIG), edits=edits).message
        try:
            names = [
                feature["feature_name"] for feature in json.loads((folder / FEATURES).read_text())["features"]
            ]
            outputs = json.loads((folder / ACCELERATION).read_text())["outputs"]
            # Fusing would compile for the first two calls (0.3 s) and gains nothing: a tower is its products.
            torch.jit.set_fusion_strategy([])
            model = torch.jit.load(str(folder / MODEL), map_location=device).eval()
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{path}: the exported model cannot be read ({reason}); export it again"
            ) from None
        features = {
            feature.name: feature
            for feature in build_features(pipeline.feature_configs, pipeline.data_config, folder)
        }
        given = [features[name] for name in names if not features[name].stub]
        here = {feature.name for feature in given}
        aligned = [
            list(inner.feature_names)
            for group in pipeline.model_config.feature_groups
            for inner in group.sequence_groups
            if here.issuperset(inner.feature_names)
        ]
        return cls(torch.jit.freeze(model), given, pipeline, outputs, device, aligned)

    @torch.no_grad()
    def vectors(self, computed: dict[str, Computed]) -> dict[str, torch.Tensor]:
        """The outputs for computed features, on the CPU: float32 [N, D] by name.

        Raises:
            BadValueError: sequences that are read together and differ in length.
        """
        computed = in_step(self.aligned, computed)
        found = self.model(serving_tensors(computed), self.device)
        return {name: found[name].float().cpu() for name in self.outputs}
