"""An exported folder is read as predict reads it, and held against the model that it was made of."""

from pathlib import Path

import numpy as np
import torch

from tzrec.datasets.batch import serving_tensors
from tzrec.serving.bundle import Bundle
from tzrec.serving.files import MODEL
from tzrec.serving.samples import sample
from tzrec.serving.tower import ServingTower

# By mixed_precision: how far a vector may be off, of the largest number among the vectors but at
# least of 1. One rounding of the type; the same kernels in the same order give the same bits.
TOLERANCE = {"": 1e-6, "FP16": 1e-3, "BF16": 1e-2}


@torch.no_grad()
def read_back(folder: Path, tower: ServingTower) -> None:
    """Reads a written folder and compares vectors of default and of random rows.

    Args:
        folder: as `write_bundle` has left it.
        tower: that it was written from, on the CPU.

    Raises:
        UserError: a file that is not what was written.
        RuntimeError: other vectors than the tower's.
    """
    device = torch.device("cpu")
    tower.eval()
    bundle = Bundle.open(str(folder), device, exact=True)
    draw = np.random.default_rng(0)
    allowed = TOLERANCE[bundle.pipeline.export_config.mixed_precision]
    rows = {
        "no": sample(bundle.features, []),
        "default": sample(bundle.features, [0, 1, 2]),
        "random": sample(bundle.features, [3, 0, 1, 5], draw),
    }
    for kind, computed in rows.items():
        expected = tower(serving_tensors(computed), device)[tower.output].float()
        found = bundle.vectors(computed)[tower.output]
        largest = max([1.0, *expected.abs().flatten().tolist()])
        if not torch.allclose(found, expected, rtol=0, atol=allowed * largest, equal_nan=True):
            raise RuntimeError(
                f"{folder / MODEL}, read back, gives other vectors than the model for {kind} rows: "
                f"off by {(found - expected).abs().max():.3g} of {largest:.3g}"
            )
