"""One tower for serving: a dictionary of tensors in, a dictionary of vectors out.

It is plain torch, so that the TorchScript file needs nothing of this package. The input holds
`{feature}.values` (int64 [V] ids, or float32 [R, D] numbers) and, for ids, `{feature}.lengths`
(integers [R]).
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tzrec.features.feature import Feature, IdFeature
from tzrec.modules.mlp import Tower


@torch.fx.wrap
def pool(weight: Tensor, values: Tensor, lengths: Tensor, mean: bool) -> Tensor:
    """Sums or averages the table rows of each row's ids: float32 [R, D]; no id gives zeros."""
    offsets = torch.zeros(lengths.size(0) + 1, dtype=torch.long, device=values.device)
    torch.cumsum(lengths, dim=0, out=offsets[1:])
    mode = "mean" if mean else "sum"
    return functional.embedding_bag(values, weight, offsets, mode=mode, include_last_offset=True)


class ServingTower(nn.Module):
    """The embeddings and layers of one tower.

    Args:
        features: of the tower, in the order of its input.
        tables: weight of every table that they look up, float32 [rows, dim].
        tower: its layers.
        output: the name of the vectors.
    """

    def __init__(
        self, features: Sequence[Feature], tables: dict[str, Tensor], tower: Tower, output: str
    ) -> None:
        super().__init__()
        self.features = list(features)
        # Names of tables are free text; TorchScript wants identifiers.
        self.places = {name: f"table_{place}" for place, name in enumerate(tables)}
        for name, weight in tables.items():
            self.register_buffer(self.places[name], weight)
        self.tower = tower
        self.output = output

    def forward(self, data: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Vectors float32 [R, D] under the name of the output."""
        parts = []
        for feature in self.features:
            values = data[f"{feature.name}.values"].to(device)
            if isinstance(feature, IdFeature):
                lengths = data[f"{feature.name}.lengths"].to(device)
                table = getattr(self, self.places[feature.table.name])
                parts.append(pool(table, values, lengths, feature.pooling == "mean"))
            else:
                parts.append(values)
        return {self.output: self.tower(torch.cat(parts, dim=1))}


def script(tower: ServingTower) -> torch.jit.ScriptModule:
    """The tower as TorchScript: traced, which unrolls its features, then compiled."""
    traced = torch.fx.symbolic_trace(tower.eval())
    with warnings.catch_warnings():
        # About an annotation in torch.fx's own GraphModule.
        warnings.filterwarnings(
            "ignore", "The TorchScript type system doesn't support instance-level", UserWarning
        )
        return torch.jit.script(traced)
