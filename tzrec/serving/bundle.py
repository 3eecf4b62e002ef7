"""The exported folder of one tower: the model, the configuration, what its features are.

scripted_model.pt  pipeline.config  fg.json  model_acc.json  (+ asset files)
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from google.protobuf import json_format

from tzrec.config import prepare, to_text
from tzrec.datasets.batch import serving_tensors
from tzrec.features.build import build_features
from tzrec.features.feature import Feature
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
    (folder / CONFIG).write_text(to_text(pipeline), encoding="utf-8")
    names = [feature.name for feature in tower.features]
    (folder / FEATURES).write_text(json.dumps(describe(pipeline, names), indent=2, ensure_ascii=False))
    facts = {"format": "torchscript", "precision": "fp32", "quantized": False, "outputs": [tower.output]}
    (folder / ACCELERATION).write_text(json.dumps(facts, indent=2))
    for asset in assets:
        shutil.copy2(asset, folder / asset.name)


def describe(pipeline: EasyRecConfig, names: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    """The features of a tower with their configuration, for whoever computes them online."""
    by_name = {}
    for config in pipeline.feature_configs:
        kind = config.WhichOneof("feature")
        fields = json_format.MessageToDict(getattr(config, kind), preserving_proto_field_name=True)
        by_name[fields["feature_name"]] = {"feature_type": kind, **fields}
    return {"features": [by_name[name] for name in names]}


@dataclass
class Bundle:
    """An exported tower, ready to run.

    Attributes:
        model: TorchScript, frozen.
        features: those of the tower, in order.
        pipeline: the configuration.
        outputs: names of the tensors that the model returns.
        device: where the model is.
    """

    model: torch.jit.ScriptModule
    features: list[Feature]
    pipeline: EasyRecConfig
    outputs: list[str]
    device: torch.device

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
            model = torch.jit.load(str(folder / MODEL), map_location=device).eval()
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{path}: the exported model cannot be read ({reason}); export it again"
            ) from None
        features = {
            feature.name: feature
            for feature in build_features(pipeline.feature_configs, pipeline.data_config)
        }
        return cls(torch.jit.freeze(model), [features[name] for name in names], pipeline, outputs, device)

    @torch.no_grad()
    def vectors(self, computed: dict[str, Computed]) -> dict[str, torch.Tensor]:
        """The outputs for computed features, on the CPU: float32 [N, D] by name."""
        found = self.model(serving_tensors(computed), self.device)
        return {name: found[name].float().cpu() for name in self.outputs}
