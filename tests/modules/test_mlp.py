"""The perceptron and the tower: shapes, what each option adds, refusals."""

import inspect

import pytest
import torch
from torch import nn

from tzrec.config.torch_names import ACTIVATIONS, INIT_FUNCTIONS, OTHER_ACTIVATIONS, OTHER_FUNCTIONS
from tzrec.features.outputs import DenseEmbedding
from tzrec.modules.dense_embedding import AutoDis, dense_embedding
from tzrec.modules.embedding import initial_values, module_name
from tzrec.modules.mlp import BatchNorm, Perceptron, Stack, Tower, activation
from tzrec.modules.sequence import SelfAttentionEncoder
from tzrec.runtime.errors import UserError


def kinds(stack: Stack) -> list[str]:
    return [type(part).__name__ for part in Perceptron(3, stack)]


def test_layers_in_order() -> None:
    assert kinds(Stack([4, 2])) == ["Linear", "ReLU", "Linear", "ReLU"]
    full = Stack([4], "nn.Tanh", batch_norm=True, layer_norm=True, bias=False, dropout=[0.5])
    assert kinds(full) == ["Linear", "BatchNorm", "LayerNorm", "Tanh", "Dropout"]
    assert kinds(Stack([4, 2], dropout=[0.0, 0.5])) == ["Linear", "ReLU", "Linear", "ReLU", "Dropout"]
    assert next(iter(Perceptron(3, full))).bias is None


def test_refusals() -> None:
    with pytest.raises(UserError, match=r'no activation "nn\.ReLo"; did you mean "ReLU"\?'):
        Perceptron(3, Stack([4], "nn.ReLo"))
    with pytest.raises(UserError, match="2 ratios for 3 layers"):
        Perceptron(3, Stack([4, 4, 4], dropout=[0.1, 0.2]))
    with pytest.raises(UserError, match=r'no function "nn\.init\.uniform"'):
        initial_values("nn.init.uniform,a=0")


@pytest.mark.parametrize("rows", [0, 1])
def test_batch_norm_takes_a_batch_without_variance(rows: int) -> None:
    """The attack: `use_bn: true` and a last batch of one row, at which training ended each time anew."""
    norm, plain = BatchNorm(3), nn.BatchNorm1d(3)
    x = 2 + torch.randn(8, 3)
    torch.testing.assert_close(norm(x), plain(x), rtol=0, atol=0)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    one = torch.randn(rows, 3, requires_grad=True)
    found = norm(one)
    torch.testing.assert_close(found, plain.eval()(one))
    assert {name: value.tolist() for name, value in norm.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    found.sum().backward()
    assert norm.weight.grad is not None
    assert one.grad is not None
    torch.testing.assert_close(one.grad, ((before["running_var"] + 1e-5) ** -0.5).expand(rows, 3))


def test_towers() -> None:
    rows = torch.randn(5, 3)
    assert Tower(3, Stack([8]), 4, normalize=False)(rows).shape == (5, 4)
    assert Tower(3, None, 0, normalize=False)(rows).equal(rows)
    lengths = Tower(3, Stack([8]), 4, normalize=True)(rows).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(5))


def test_initial_values() -> None:
    function = initial_values("nn.init.uniform_,a=0.25,b=0.5")
    assert function is not None
    drawn = function(torch.empty(1000))
    assert drawn.min() >= 0.25
    assert drawn.max() <= 0.5
    assert initial_values("") is None


def test_any_table_name_makes_a_module() -> None:
    bag = nn.ModuleDict({module_name(name): nn.Identity() for name in ("items", "a.b", "a%2Eb", "type")})
    assert len(bag) == 4


def test_what_the_check_knows_of_torch() -> None:
    """The tables that the check reads without torch, against torch."""
    rows = torch.randn(5, 3)
    for name in ACTIVATIONS:
        assert activation(f"nn.{name}")(rows).shape == rows.shape
    known = {name for name in nn.modules.activation.__all__ if name not in OTHER_ACTIVATIONS}
    assert known == set(ACTIVATIONS)
    filling = {name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")}
    assert filling == {*INIT_FUNCTIONS, *OTHER_FUNCTIONS}
    for name, (takes, needs) in INIT_FUNCTIONS.items():
        options = inspect.signature(getattr(nn.init, name)).parameters
        assert set(takes) <= set(options)
        lacking = [key for key, one in options.items() if one.default is one.empty and key != "tensor"]
        assert lacking == list(needs)
        function = initial_values(",".join([f"nn.init.{name}", *(f"{key}=0.5" for key in needs)]))
        assert function is not None
        assert torch.isfinite(function(torch.empty(6, 4))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Perceptron(3, Stack([2**41])),
            "mlp.hidden_units: a layer from 3 to 2199023255552",
        ),
        (
            lambda: Tower(2**20, None, 2**31 - 1, False),
            "output_dim: a layer from 1048576 to 2147483647 numbers",
        ),
        (
            lambda: SelfAttentionEncoder(2**20, 2**31 - 1, 1, 0.0, 0),
            "self_attention_encoder.multihead_attn_dim: ",
        ),
        (lambda: AutoDis(1, 4, 2**32 - 1, 1.0, 1.0), "autodis.num_channels: 4294967295 channels: that is "),
        (
            lambda: dense_embedding(2**20, DenseEmbedding(2**31)),
            "embedding_dim of an mlp {} feature: a layer from",
        ),
    ],
)
def test_layers_that_no_host_can_hold_are_told(make, message: str) -> None:
    """Widths of 2**32 - 1: the allocator of torch ended the command, or the system did."""
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(message)
    assert "GiB; give a smaller number" in str(error.value)
