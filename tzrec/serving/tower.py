"""One tower for serving: a dictionary of tensors in, a dictionary of vectors out.

It is plain torch, so that the TorchScript file needs nothing of this package. R rows; a sequence
has E elements in all rows together. The input holds, by feature:

    numbers                   {feature}.values float32 [R, D]
    numbers of a sequence     {feature}.values float32 [E, D], {feature}.lengths integers [R]
    ids                       {feature}.values int64 [V], {feature}.lengths integers [R]
    ids of a sequence         {feature}.values int64 [V], {feature}.key_lengths integers [E], the ids of
                              each element, {feature}.lengths integers [R], the elements of each row
    weighted ids              and {feature}.weights float32 [V]
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from tzrec.datasets.batch import Lookup, feature_of
from tzrec.modules.group import GroupInput
from tzrec.modules.mlp import Tower


@torch.fx.wrap
def pool(weight: Tensor, values: Tensor, lengths: Tensor, weights: Tensor | None, mean: bool) -> Tensor:
    """Sums or averages the table rows of the ids of each row or element: float32 [R, D]; none gives zeros.

    A weighted mean divides the sum by the count of ids.
    """
    offsets = torch.zeros(lengths.size(0) + 1, dtype=torch.long, device=values.device)
    torch.cumsum(lengths, dim=0, out=offsets[1:])
    if weight.dtype == torch.half:
        # Sums of float16 would be rounded at every step: only the rows that are read become float32.
        weight, values = (
            functional.embedding(values, weight).float(),
            torch.arange(values.size(0), device=values.device),
        )
    if weights is None:
        mode = "mean" if mean else "sum"
        return functional.embedding_bag(values, weight, offsets, mode=mode, include_last_offset=True)
    total = functional.embedding_bag(
        values, weight, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )
    return total / lengths.clamp(min=1).unsqueeze(1) if mean else total


class ServingTower(nn.Module):
    """The embeddings and layers of one tower.

    Args:
        group: from vectors of features to the input of the tower.
        tables: weight of every table that they look up, float32 or float16 [rows, dim].
        tower: its layers.
        output: the name of the vectors.
    """

    def __init__(self, group: GroupInput, tables: dict[str, Tensor], tower: Tower, output: str) -> None:
        super().__init__()
        self.group = group.with_plain_names()
        self.features = group.group.features
        # Names of tables and features are free text; TorchScript wants identifiers.
        self.places = {name: f"table_{place}" for place, name in enumerate(tables)}
        for name, weight in tables.items():
            self.register_buffer(self.places[name], weight)
        self.tower = tower
        self.output = output

    def forward(self, data: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Vectors float32 [R, D] under the name of the output."""
        vectors, lengths = {}, {}
        for part in self.group.group.all_parts:
            feature = feature_of(part)
            values = data[f"{feature.name}.values"].to(device)
            if feature.is_sequence:
                lengths[feature.name] = data[f"{feature.name}.lengths"].to(device)
            if not isinstance(part, Lookup):
                vectors[part.name] = values
                continue
            counts = data[f"{feature.name}.{'key_lengths' if feature.is_sequence else 'lengths'}"].to(device)
            table = getattr(self, self.places[part.table.name])
            mean = part.feature.pooling == "mean"
            weights = data[f"{feature.name}.weights"].to(device) if part.feature.weighted else None
            vectors[part.name] = pool(table, values, counts, weights, mean)
        return {self.output: self.tower(self.group(vectors, lengths))}


def script(tower: ServingTower) -> torch.jit.ScriptModule:
    """The tower as TorchScript: traced, which unrolls its features, then compiled."""
    traced = torch.fx.symbolic_trace(tower.eval())
    with warnings.catch_warnings():
        # About an annotation in torch.fx's own GraphModule.
        warnings.filterwarnings(
            "ignore", "The TorchScript type system doesn't support instance-level", UserWarning
        )
        return torch.jit.script(traced)
