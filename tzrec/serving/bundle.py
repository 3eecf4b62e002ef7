"""The exported folder of one tower: the model, the configuration, what its features are.

scripted_model.pt  pipeline.config  fg.json  model_acc.json  checksums.json  (+ asset files)
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tzrec.config import to_text
from tzrec.datasets.batch import serving_tensors
from tzrec.features.build import build_features
from tzrec.features.feature import Feature, in_order
from tzrec.features.graph import in_step
from tzrec.features.outputs import Computed
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.errors import UserError
from tzrec.serving.contents import (
    check_model,
    check_present,
    damaged,
    read_configuration,
    read_names,
    read_outputs,
)
from tzrec.serving.description import describe
from tzrec.serving.files import (
    ACCELERATION,
    AGAIN,
    CONFIG,
    FEATURES,
    MODEL,
    carry,
    copy_file,
    write_file,
)
from tzrec.serving.samples import sample
from tzrec.serving.seal import check_seal, write_seal
from tzrec.serving.torchscript import save
from tzrec.serving.tower import ServingTower, script


def write_bundle(
    folder: Path, tower: ServingTower, pipeline: EasyRecConfig, assets: Sequence[Path] = ()
) -> None:
    """Writes the folder of one tower, every file synced to the disk.

    Args:
        folder: is made; it is not there yet.
        tower: with its parameters.
        pipeline: the configuration it was trained with.
        assets: files that are copied into the folder.

    Raises:
        OSError: a file that cannot be written; it names the file.
    """
    folder.mkdir(parents=True)
    pipeline, files = carry(pipeline)
    names = [feature.name for feature in in_order(tower.features)]
    precision = pipeline.export_config.mixed_precision.lower() or "fp32"
    facts = {"format": "torchscript", "precision": precision, "quantized": False, "outputs": [tower.output]}
    texts = {
        CONFIG: to_text(pipeline),
        FEATURES: json.dumps(describe(pipeline, names), indent=2, ensure_ascii=False),
        ACCELERATION: json.dumps(facts, indent=2),
    }
    checksums = {name: write_file(folder / name, text.encode()) for name, text in texts.items()}
    for name, source in [*files.items(), *((asset.name, asset) for asset in assets)]:
        checksums[name] = copy_file(source, folder / name)
    checksums[MODEL] = save(script(tower), folder / MODEL)
    write_seal(folder, checksums)


@dataclass
class Bundle:
    """An exported tower, ready to run.

    Attributes:
        model: TorchScript, frozen unless `exact`.
        features: those of the tower, in order.
        pipeline: the configuration.
        outputs: names of the tensors that the model returns.
        device: where the model is.
        aligned: names of features whose sequences are read together.
        sealed: whether the folder had checksums, so that its files are known to be what was written.
    """

    model: torch.jit.ScriptModule
    features: list[Feature]
    pipeline: EasyRecConfig
    outputs: list[str]
    device: torch.device
    aligned: list[list[str]]
    sealed: bool = True

    @classmethod
    def open(cls, path: str, device: torch.device, edits: str | None = None, exact: bool = False) -> "Bundle":
        """Reads an exported folder, checks that its files are what was written and runs two rows.

        Args:
            path: the folder.
            device: where the model is to be.
            edits: the value of --edit_config_json.
            exact: leave the model as it is, rather than fold normalisation into products, which is
                faster and rounds otherwise.

        Raises:
            UserError: a folder that holds no exported model, files that are damaged, or not of one model.
        """
        folder = Path(path)
        check_present(folder)
        sealed = check_seal(folder)
        pipeline = read_configuration(folder, edits)
        names, outputs = read_names(folder / FEATURES), read_outputs(folder / ACCELERATION)
        try:
            # Fusing would compile for the first two calls (0.3 s) and gains nothing: a tower is its products.
            torch.jit.set_fusion_strategy([])
            model = torch.jit.load(str(folder / MODEL), map_location=device).eval()
        except Exception as error:  # Whatever torch's C++ code throws at damaged content.
            if sealed and (isinstance(error, MemoryError) or "allocate memory" in str(error)):
                raise  # The file is whole; the host is too small.
            raise damaged(folder / MODEL, error) from None
        features = {
            feature.name: feature
            for feature in build_features(pipeline.feature_configs, pipeline.data_config, folder)
        }
        if lost := [name for name in names if name not in features]:
            what = f'feature "{lost[0]}" is not in {CONFIG}: the two files are of different models'
            raise UserError(f"{folder / FEATURES}: {what}; {AGAIN}")
        given = [features[name] for name in names if not features[name].stub]
        here = {feature.name for feature in given}
        aligned = [
            list(inner.feature_names)
            for group in pipeline.model_config.feature_groups
            for inner in group.sequence_groups
            if here.issuperset(inner.feature_names)
        ]
        check_model(folder, model, given)
        bundle = cls(model, given, pipeline, outputs, device, aligned, sealed)
        bundle._run_once(folder, exact)
        return bundle

    def _run_once(self, folder: Path, exact: bool) -> None:
        """Runs rows of defaults: a model of other features or outputs shows itself."""
        try:
            if not exact:
                self.model = torch.jit.freeze(self.model)
            found = self.vectors(sample(self.features, [1, 0]))
            fits = all(tensor.ndim == 2 and len(tensor) == 2 for tensor in found.values())
            reason = "its outputs are no vectors"
        except Exception as error:  # The model is a program of anybody's.
            fits, reason = False, _last_line(error)
        if not fits:
            raise UserError(
                f"{folder / MODEL}: the model does not run with the features of {FEATURES} and the outputs "
                f"of {ACCELERATION} beside it ({reason}): the files are of different models; {AGAIN}"
            )

    @torch.no_grad()
    def vectors(self, computed: dict[str, Computed]) -> dict[str, torch.Tensor]:
        """The outputs for computed features, on the CPU: float32 [N, D] by name.

        Raises:
            BadValueError: sequences that are read together and differ in length.
        """
        computed = in_step(self.aligned, computed)
        found = self.model(serving_tensors(computed), self.device)
        return {name: found[name].float().cpu() for name in self.outputs}


def _last_line(error: BaseException) -> str:
    """What an error of TorchScript says: behind the trace of its own that it begins with."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("RuntimeError: ") if lines else type(error).__name__
