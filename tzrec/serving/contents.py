"""The files of an exported folder, read: one that is missing, damaged or of another model is named."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tzrec.config import prepare
from tzrec.features.feature import Feature, IdFeature
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.errors import UserError
from tzrec.serving.files import ACCELERATION, AGAIN, CONFIG, FEATURES, MODEL, check_inside


def damaged(path: Path, error: BaseException) -> UserError:
    """The error for a file that cannot be read."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"{path}: the file cannot be read ({reason}); {AGAIN}")


def check_present(folder: Path) -> None:
    """Raises UserError where the folder is no exported tower."""
    lost = [name for name in (MODEL, CONFIG, FEATURES, ACCELERATION) if not (folder / name).is_file()]
    if lost:
        inside = [name for name in ("user", "item") if (folder / name / MODEL).is_file()]
        hint = f"; give one of its towers: {' or '.join(str(folder / name) for name in inside)}"
        raise UserError(
            f"--scripted_model_path: {folder} has no {', '.join(lost)}"
            + (hint if inside else "; give a folder that tzrec.export has written")
        )


def read_configuration(folder: Path, edits: str | None) -> EasyRecConfig:
    """The configuration, changed by the value of --edit_config_json.

    Raises:
        UserError: a damaged file, a wrong edit, or files of features that are not in the folder.
    """
    path = folder / CONFIG
    try:
        pipeline = prepare(str(path)).message
    except UserError as error:
        first = str(error).splitlines()[0].removeprefix(f"{path}: ")
        raise UserError(f"{path}: the file is damaged ({first}); {AGAIN}") from None
    if edits:
        pipeline = prepare(str(path), edits=edits).message
    check_inside(pipeline, folder)
    return pipeline


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: the file is damaged: it holds no JSON object; {AGAIN}")
    return found


def read_names(path: Path) -> list[str]:
    """The features of the tower, from fg.json."""
    features = _json(path).get("features")
    names = [
        feature.get("feature_name") if isinstance(feature, dict) else None
        for feature in (features if isinstance(features, list) else [])
    ]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f'{path}: the file is damaged: no "features" with names; {AGAIN}')
    return [str(name) for name in names]


def read_outputs(path: Path) -> list[str]:
    """The names of the model's outputs, from model_acc.json."""
    outputs = _json(path).get("outputs")
    if not isinstance(outputs, list) or not outputs or not all(isinstance(name, str) for name in outputs):
        raise UserError(f'{path}: the file is damaged: no "outputs" with names; {AGAIN}')
    return outputs


def check_model(folder: Path, model: torch.jit.ScriptModule, features: Sequence[Feature]) -> None:
    """Whether a model reads these features and has their tables: ids beyond a table end the process.

    Raises:
        UserError: the model is of another configuration.
    """
    path, by_name = folder / MODEL, {feature.name: feature for feature in features}
    try:
        graph: Any = model.inlined_graph
        keys = [node.inputsAt(1).toIValue() for node in graph.findAllNodes("aten::__getitem__")]
    except Exception as error:  # As in reading it.
        raise damaged(path, error) from None
    read = dict.fromkeys(key.rpartition(".")[0] for key in keys if isinstance(key, str))
    other = f"the files are of different models; {AGAIN}"
    if lost := [name for name in read if name not in by_name]:
        raise UserError(f'{path}: it reads feature "{lost[0]}", which is not in {FEATURES}: {other}')
    tables = [one.table for one in map(by_name.__getitem__, read) if isinstance(one, IdFeature)]
    told = {(table.rows, table.dim) for table in tables}
    held = {tuple(table.shape) for name, table in model.named_buffers() if name.startswith("table_")}
    if held != told:
        rows, dim = sorted(told ^ held)[0]
        has, lacks = (MODEL, CONFIG) if (rows, dim) in held else (CONFIG, MODEL)
        raise UserError(f"{path}: {has} has a table of {rows} rows of {dim}, {lacks} has none such: {other}")
