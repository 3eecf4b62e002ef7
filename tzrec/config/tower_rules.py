"""Rules about layers: their words and counts, and what the two towers owe each other."""

from typing import Any

from tzrec.config.feature_inputs import is_embedded
from tzrec.config.torch_names import FLOAT32_ONLY, activation_name, parse_init_fn
from tzrec.config.walk import Mistake, all_set, features
from tzrec.runtime.errors import UserError


def perceptrons(message: Any) -> list[Mistake]:
    """An activation that torch has, and a dropout ratio for each layer or one for all."""
    mistakes = []
    for one in all_set(message.model_config, "model_config"):
        if one.field.message_type is None or one.field.message_type.name != "MLP":
            continue
        mlp = one.value
        try:
            activation_name(mlp.activation)
        except UserError as error:
            mistakes.append(Mistake(f"{one.path}.activation", str(error)))
        layers, ratios = len(mlp.hidden_units), len(mlp.dropout_ratio)
        if ratios not in (0, 1, layers):
            what = f"dropout_ratio: {ratios} ratios for {layers} layers; give one, or one a layer"
            mistakes.append(Mistake(f"{one.path}.dropout_ratio", what))
    return mistakes


def initial_values(message: Any) -> list[Mistake]:
    """Functions of torch.nn.init with numbers that they take."""
    mistakes = []
    for path, feature, name in features(message):
        try:
            function, _ = parse_init_fn(feature.init_fn)
        except UserError as error:
            mistakes.append(Mistake(f"{path}.init_fn", str(error)))
            continue
        if function in FLOAT32_ONLY and feature.data_type == "FP16" and is_embedded(feature):
            what = f'init_fn: {function} needs data_type: "FP32", which that of "{name}" is not'
            mistakes.append(Mistake(f"{path}.init_fn", what))
    return mistakes


def two_towers(message: Any) -> list[Mistake]:
    """Each tower has a group of its own; without a last layer their perceptrons end alike."""
    dssm, path = message.model_config.dssm, "model_config.dssm"
    mistakes = []
    if dssm.user_tower.input and dssm.user_tower.input == dssm.item_tower.input:
        what = f'both towers read the feature group "{dssm.item_tower.input}"; give each tower its own group'
        mistakes.append(Mistake(f"{path}.item_tower.input", what))
    user, item = dssm.user_tower.mlp.hidden_units, dssm.item_tower.mlp.hidden_units
    if not dssm.output_dim and user and item and user[-1] != item[-1]:
        what = (
            f"without output_dim the vectors are as wide as the last hidden_units: {user[-1]} of user_tower, "
            f"{item[-1]} of item_tower; make them equal or set output_dim"
        )
        mistakes.append(Mistake(f"{path}.item_tower.mlp.hidden_units", what))
    return mistakes


RULES = (perceptrons, initial_values, two_towers)
