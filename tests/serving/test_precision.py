"""Exported towers that compute in BF16 or FP16."""

import json
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from tests.small import Small, command
from tzrec.modules.mlp import BatchNorm, LinearIn, Stack, Tower, use_precision

# A rounding of BF16 is up to 2^-9 of a number, one of FP16 up to 2^-12; layers add up a few.
COARSE = {"BF16": 0.02, "FP16": 0.003}


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_only_linear_layers_change(precision: torch.dtype) -> None:
    torch.manual_seed(1)
    tower = Tower(12, Stack([16], batch_norm=True, layer_norm=True), 8, normalize=True).eval()
    inputs = torch.randn(50, 12)
    exact = tower(inputs)
    use_precision(tower, precision)
    assert [type(m) for m in tower.mlp] == [LinearIn, BatchNorm, nn.LayerNorm, nn.ReLU]
    # As the export does it; the annotation it warns of is torch.fx's own.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = torch.jit.script(torch.fx.symbolic_trace(tower))(inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, tower(inputs), rtol=0, atol=0)
    assert 1e-5 < (found - exact).abs().max() < 0.02
    assert (found.norm(dim=1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("precision", ["BF16", "FP16"])
def test_predict_by_either_precision(trained: Small, tmp_path: Path, precision: str) -> None:
    vectors = {}
    for kind in ("", precision):
        config = tmp_path / f"{kind or 'exact'}.config"
        text = (trained.model / "pipeline.config").read_text()
        config.write_text(text + f'\nexport_config {{ mixed_precision: "{kind}" }}\n')
        export = tmp_path / f"export{kind}"
        done = command("tzrec.export", "--pipeline_config_path", config, "--export_dir", export)
        assert done.returncode == 0, done.stderr
        done = command(
            "tzrec.predict",
            *(
                "--scripted_model_path",
                export / "item",
                "--predict_input_path",
                trained.root / "item/*.parquet",
            ),
            *("--predict_output_path", tmp_path / f"out{kind}", "--reserved_columns", "item_id"),
        )
        assert done.returncode == 0, done.stderr
        table = pq.read_table(tmp_path / f"out{kind}" / "part-0.parquet")
        vectors[kind] = torch.tensor(table["item_tower_emb"].to_pylist())
        facts = json.loads((export / "item" / "model_acc.json").read_text())
        assert facts["precision"] == (kind.lower() or "fp32")
    difference = (vectors[precision] - vectors[""]).abs().max()
    assert 1e-6 < difference < COARSE[precision]
