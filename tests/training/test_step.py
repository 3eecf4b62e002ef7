"""Clipping, BF16 towers, the choice of matrix products: numbers worked out by hand."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.small import make_small
from tzrec.config import prepare
from tzrec.datasets.build import build_loader
from tzrec.modules.mlp import Stack, Tower
from tzrec.protos.train_pb2 import GradClipping
from tzrec.runtime.processes import leave_group
from tzrec.runtime.world import World
from tzrec.training.build import Session, build_clip
from tzrec.training.step import Stepper, use_exact_onednn


def clipped(config: GradClipping) -> list[float]:
    """The gradients (3) and (4), a joint norm of 5, after clipping."""
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for parameter, value in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([value])
    clip = build_clip(config)
    if clip is not None:
        clip(parameters)
    return [parameter.grad.item() for parameter in parameters if parameter.grad is not None]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GradClipping(), [3.0, 4.0]),
        (GradClipping(clipping_type="norm", max_gradient=1.0), [0.6, 0.8]),
        (GradClipping(clipping_type="norm", max_gradient=10.0), [3.0, 4.0]),
        # The sum of sizes is 7.
        (GradClipping(clipping_type="norm", max_gradient=3.5, norm_type=1.0), [1.5, 2.0]),
        (GradClipping(clipping_type="value", max_gradient=3.5), [3.0, 3.5]),
    ],
)
def test_clipping(config: GradClipping, expected: list[float]) -> None:
    assert clipped(config) == pytest.approx(expected, rel=1e-5)


def test_fp32_products_stay_fp32() -> None:
    """Whatever is chosen on this machine: sums of 1,024 products err as FP32, not as BF16."""
    before = torch.get_float32_matmul_precision()
    try:
        use_exact_onednn()
        torch.manual_seed(1)
        a, b = torch.randn(300, 1024), torch.randn(1024, 300)
        exact = a.double() @ b.double()
        assert (a @ b - exact).abs().max() < 1e-3
        assert (a.bfloat16() @ b.bfloat16() - exact).abs().max() > 1e-2
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_bf16_tower_keeps_float32_outside() -> None:
    torch.manual_seed(1)
    tower = Tower(12, Stack([16]), 8, normalize=True)
    inputs = torch.randn(50, 12, requires_grad=True)
    exact = tower(inputs)
    tower.precision = torch.bfloat16
    coarse = tower(inputs)
    coarse.sum().backward()
    assert coarse.dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in tower.parameters())
    # The length is one in FP32: it was normalised after the layers, not in their precision.
    assert (coarse.norm(dim=1) - 1).abs().max() < 1e-6
    assert 1e-5 < (coarse - exact).abs().max() < 0.05


@pytest.mark.parametrize("precision", ["", "BF16"])
def test_training_in_either_precision(tmp_path: Path, precision: str) -> None:
    pipeline = prepare(str(make_small(tmp_path / "small").config)).message
    pipeline.train_config.mixed_precision = precision
    try:
        session = Session.begin(pipeline, World())
        stepper = Stepper(session.model, session.optimizers, session.objective, session.clip)
        loader = build_loader(pipeline.data_config, session.towers.layout, World(), pipeline.train_input_path)
        losses = []
        for step, batch in enumerate(loader.batches()):
            done = stepper([batch], step, 0)
            losses.append((done.loss / done.weight).item())
    finally:
        leave_group()
    assert len(losses) == 30
    assert done.loss.dtype == torch.float32
    # From about log(33) to what FP32 reaches with this seed.
    assert losses[0] > 3.2
    assert losses[-1] < 2.8
