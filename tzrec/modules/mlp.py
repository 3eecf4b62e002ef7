"""The perceptron of a tower."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tzrec.config.torch_names import OVER_THE_WIDTH, activation_name
from tzrec.runtime.errors import UserError
from tzrec.runtime.memory import check_fits


def activation(name: str) -> nn.Module:
    """A module of torch.nn by its name, `nn.ReLU` or `ReLU`.

    Raises:
        UserError: torch.nn has no activation of that name that needs no argument.
    """
    short = activation_name(name)
    # Over the width, as torch does by itself, with a warning.
    options = {"dim": -1} if short in OVER_THE_WIDTH else {}
    return getattr(nn, short)(**options)


def linear(width: int, size: int, field: str, bias: bool = True) -> nn.Linear:
    """A linear layer, float32 [R, width] -> [R, size].

    Raises:
        UserError: more parameters than this host has memory for; `field` of the configuration says so.
    """
    check_fits(f"{field}: a layer from {width} to {size} numbers", width * size)
    return nn.Linear(width, size, bias=bias)


class BatchNorm(nn.BatchNorm1d):
    """torch's, but for batches of one row or none, which have no variance.

    Such a batch is normalised by the running statistics, as in evaluation, and leaves these as they are.
    torch refuses it; the last batch of a pass may well be one.
    """

    def forward(self, x_RF: Tensor) -> Tensor:
        """[R, F] -> [R, F]."""
        if self.training and len(x_RF) > 1:
            return super().forward(x_RF)
        # Not by torch's own `forward`: it looks at the shape, which the tracer of the export cannot.
        return nn.functional.batch_norm(
            x_RF, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


@dataclass(frozen=True)
class Stack:
    """The shape of a perceptron.

    Attributes:
        hidden: width of each layer.
        activation: as `activation` takes it.
        batch_norm, layer_norm, bias: what each layer has.
        dropout: one ratio, or one a layer; empty for none.
    """

    hidden: Sequence[int]
    activation: str = "nn.ReLU"
    batch_norm: bool = False
    layer_norm: bool = False
    bias: bool = True
    dropout: Sequence[float] = ()


class Perceptron(nn.Sequential):
    """Linear layers, each followed by normalisation, activation and dropout as asked.

    Args:
        width: floats of the input.
        stack: the layers.

    Raises:
        UserError: a count of dropout ratios that is neither one nor the count of layers.

    Attributes:
        out_features: floats of the output.
    """

    def __init__(self, width: int, stack: Stack) -> None:
        super().__init__(*_layers(width, stack))
        self.out_features = stack.hidden[-1] if stack.hidden else width


def _layers(width: int, stack: Stack) -> list[nn.Module]:
    count = len(stack.hidden)
    if len(stack.dropout) not in (0, 1, count):
        raise UserError(
            f"mlp.dropout_ratio: {len(stack.dropout)} ratios for {count} layers; give one, or one a layer"
        )
    dropout = list(stack.dropout) * count if len(stack.dropout) == 1 else list(stack.dropout)
    parts: list[nn.Module] = []
    for number, size in enumerate(stack.hidden):
        parts.append(linear(width, size, "mlp.hidden_units", stack.bias))
        if stack.batch_norm:
            parts.append(BatchNorm(size))
        if stack.layer_norm:
            parts.append(nn.LayerNorm(size))
        parts.append(activation(stack.activation))
        if dropout and dropout[number] > 0:
            parts.append(nn.Dropout(dropout[number]))
        width = size
    return parts


class Tower(nn.Module):
    """A perceptron, a linear layer to the output, and the length-one normalisation of COSINE.

    Args:
        width: floats of the input.
        stack: the perceptron; None for none.
        output_dim: floats of the vector; 0 leaves out the last layer.
        normalize: divide each vector by its length.

    Attributes:
        out_features: floats of the vector.
        precision: what the linear layers compute in, such as torch.bfloat16; None for the type of
            their parameters. Vectors are float32 either way and normalised as such.
    """

    def __init__(self, width: int, stack: Stack | None, output_dim: int, normalize: bool) -> None:
        super().__init__()
        self.mlp = Perceptron(width, stack) if stack else None
        width = self.mlp.out_features if self.mlp is not None else width
        self.output = linear(width, output_dim, "output_dim") if output_dim else None
        self.out_features = output_dim or width
        self.normalize = normalize
        self.precision: torch.dtype | None = None

    def forward(self, x_RF: Tensor) -> Tensor:
        """float32 [R, F] -> float32 [R, D]."""
        if self.precision is None:
            x_RF = self._layers(x_RF)
        else:
            with torch.autocast(x_RF.device.type, self.precision):
                x_RF = self._layers(x_RF)
            x_RF = x_RF.float()
        if self.normalize:
            x_RF = nn.functional.normalize(x_RF, p=2.0, dim=1)
        return x_RF

    def _layers(self, x_RF: Tensor) -> Tensor:
        if self.mlp is not None:
            x_RF = self.mlp(x_RF)
        return x_RF if self.output is None else self.output(x_RF)


class LinearIn(nn.Module):
    """A linear layer that computes in another precision: float32 in and out.

    Unlike autocast it can be traced, and its parameters are held in that precision.

    Args:
        linear: with its parameters, which are copied.
        precision: such as torch.bfloat16.
    """

    def __init__(self, linear: nn.Linear, precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision
        self.weight = nn.Parameter(linear.weight.detach().to(precision))
        self.bias = nn.Parameter(linear.bias.detach().to(precision)) if linear.bias is not None else None

    def forward(self, x_RF: Tensor) -> Tensor:
        """float32 [R, F] -> float32 [R, D]."""
        return nn.functional.linear(x_RF.to(self.precision), self.weight, self.bias).float()


def use_precision(module: nn.Module, precision: torch.dtype) -> None:
    """Replaces the linear layers inside a module by such as compute in this precision."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, LinearIn(child, precision))
        else:
            use_precision(child, precision)
