"""What the configuration may name of torch, known without importing it; a test compares with torch."""

import math

from tzrec.runtime.errors import UserError, nearest

# Modules of torch.nn that need no argument and keep the shape of rows of numbers.
_ACTIVATIONS = (
    "ELU Hardshrink Hardsigmoid Hardtanh Hardswish ReLU ReLU6 LeakyReLU LogSigmoid LogSoftmax GELU SELU CELU "
    "SiLU Mish Sigmoid Softplus Softshrink Softsign Softmax Softmin Tanh Tanhshrink PReLU RReLU"
)
ACTIVATIONS = tuple(_ACTIVATIONS.split())
OVER_THE_WIDTH = ("Softmax", "Softmin", "LogSoftmax")
OTHER_ACTIVATIONS = {
    "Threshold": "needs arguments",
    "GLU": "halves the width",
    "Softmax2d": "is for images",
    "MultiheadAttention": "has three inputs",
}
# Function of torch.nn.init -> the numbers it takes, and those of them that it needs.
INIT_FUNCTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "uniform_": (("a", "b"), ()),
    "normal_": (("mean", "std"), ()),
    "trunc_normal_": (("mean", "std", "a", "b"), ()),
    "constant_": (("val",), ("val",)),
    "ones_": ((), ()),
    "zeros_": ((), ()),
    "eye_": ((), ()),
    "xavier_uniform_": (("gain",), ()),
    "xavier_normal_": (("gain",), ()),
    "kaiming_uniform_": (("a",), ()),
    "kaiming_normal_": (("a",), ()),
    "orthogonal_": (("gain",), ()),
    "sparse_": (("sparsity", "std"), ("sparsity",)),
}
# Function -> the interval that it draws from by default.
_INTERVALS = {"uniform_": (0.0, 1.0), "trunc_normal_": (-2.0, 2.0)}
# Of a matrix, by algorithms that torch has for float32 only.
FLOAT32_ONLY = ("orthogonal_",)
OTHER_FUNCTIONS = {"dirac_": "is for the kernels of convolutions"}


def activation_name(text: str) -> str:
    """The class of torch.nn that `nn.ReLU` or `ReLU` names.

    Raises:
        UserError: torch.nn has no such activation, or none that can stand between two layers.
    """
    short = text.removeprefix("torch.").removeprefix("nn.")
    if short in ACTIVATIONS:
        return short
    if short in OTHER_ACTIVATIONS:
        what = f'activation "{text}" {OTHER_ACTIVATIONS[short]}'
        raise UserError(f"{what}; take another of torch.nn, such as nn.ReLU")
    hint = nearest(short, ACTIVATIONS) or "; take one such as nn.ReLU, nn.GELU, nn.LeakyReLU, nn.Tanh"
    raise UserError(f'activation: torch.nn has no activation "{text}"{hint}')


def parse_init_fn(text: str) -> tuple[str, dict[str, float]]:
    """`nn.init.uniform_,a=-0.01,b=0.01` as the function's name and its numbers; ("", {}) for "".

    Raises:
        UserError: not the name of a function of torch.nn.init that fills a table, or arguments that it
            does not take, lacks, or cannot use.
    """
    if not text:
        return "", {}
    name, *arguments = (part.strip() for part in text.split(","))
    short = name.removeprefix("torch.").removeprefix("nn.init.")
    if short in OTHER_FUNCTIONS:
        raise UserError(f'init_fn: "{name}" {OTHER_FUNCTIONS[short]}; take one such as nn.init.uniform_')
    if short not in INIT_FUNCTIONS:
        hint = nearest(short, INIT_FUNCTIONS) or f"; functions are {', '.join(INIT_FUNCTIONS)}"
        raise UserError(f'init_fn: no function "{name}" in nn.init{hint}')
    takes, needs = INIT_FUNCTIONS[short]
    options: dict[str, float] = {}
    for part in arguments:
        key, equals, value = (word.strip() for word in part.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not equals or not math.isfinite(number):
            raise UserError(f'init_fn: "{text}" is not nn.init.NAME,argument=number,...')
        if key not in takes:
            listed = f"; it has {', '.join(takes)}" if takes else "; it has none"
            raise UserError(f'init_fn: {short} has no argument "{key}"{nearest(key, takes) or listed}')
        if key in options:
            raise UserError(f'init_fn: "{text}" gives {key} twice')
        options[key] = number
    if lost := [key for key in needs if key not in options]:
        raise UserError(f"init_fn: {short} wants {lost[0]}, such as nn.init.{short},{lost[0]}=0.5")
    _check_numbers(short, options)
    return short, options


def _check_numbers(name: str, options: dict[str, float]) -> None:
    if options.get("std", 0) < 0:
        raise UserError(f"init_fn: {name}: std must be 0 or more, got {options['std']:g}")
    if not 0 <= options.get("sparsity", 0) <= 1:
        raise UserError(f"init_fn: {name}: sparsity must be from 0 to 1, got {options['sparsity']:g}")
    if name in _INTERVALS:
        a, b = (options.get(key, default) for key, default in zip("ab", _INTERVALS[name], strict=True))
        if a > b:
            raise UserError(f"init_fn: {name} draws from a to b, got a={a:g} and b={b:g}")
