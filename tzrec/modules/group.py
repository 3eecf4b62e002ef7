"""The input of a tower: vectors of features one beside the other, then what encoders make of sequences.

Shape letters: R rows, E elements of all rows' sequences, L elements of the longest one, D floats of a
feature, S floats of an element, F floats of the whole input.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tzrec.datasets.batch import Part, feature_of
from tzrec.features.feature import Feature, RawFeature
from tzrec.modules.dense_embedding import dense_embedding
from tzrec.modules.variational_dropout import VariationalDropout

# (floats of an element, floats of the query) -> an encoder; see modules/sequence.py.
MakeEncoder = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class SequenceGroup:
    """Features whose elements stand side by side.

    Attributes:
        name: what encoders call it.
        sequence: features that are sequences, of one length in a row.
        query: features of the row, for encoders that compare elements with them.
    """

    name: str
    sequence: tuple[Part, ...]
    query: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Encoder:
    """An encoder of one sequence group: the group's name, and how the encoder is made."""

    input: str
    make: MakeEncoder


@dataclass(frozen=True)
class Group:
    """A feature group.

    Attributes:
        name: of the group.
        parts: features that are no sequences, in the order of the input.
        sequences: its sequence groups.
        encoders: in the order of the input, behind `parts`.
        dropout: (regularization, embedding-wise) of a variational dropout; None for none.
    """

    name: str
    parts: tuple[Part, ...]
    sequences: tuple[SequenceGroup, ...] = ()
    encoders: tuple[Encoder, ...] = ()
    dropout: tuple[float, bool] | None = None

    @property
    def all_parts(self) -> list[Part]:
        """Everything that the group reads, each once."""
        inside = [part for one in self.sequences for part in (*one.query, *one.sequence)]
        return list({part.name: part for part in (*self.parts, *inside)}.values())

    @property
    def features(self) -> list[Feature]:
        """The features of all parts, each once."""
        return list({feature_of(part).name: feature_of(part) for part in self.all_parts}.values())

    @property
    def aligned(self) -> list[list[str]]:
        """Names of features whose sequences are read together."""
        return [[feature_of(part).name for part in one.sequence] for one in self.sequences]


class GroupInput(nn.Module):
    """From vectors of features to the input of a tower.

    Args:
        group: what it consists of.

    Attributes:
        places: where the layers of a feature with a dense embedding are, by the feature's name.
        out_features: F.
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group
        self.dense = nn.ModuleDict()
        self.places: dict[str, str] = {}
        for part in group.all_parts:
            if isinstance(part, RawFeature) and part.embedding is not None:
                self.places[part.name] = key(part.name)
                self.dense[key(part.name)] = dense_embedding(part.value_dim, part.embedding)
        by_name = {one.name: one for one in group.sequences}
        self.encoders = nn.ModuleList(
            encoder.make(
                width(by_name[encoder.input].sequence),
                width(by_name[encoder.input].query),
            )
            for encoder in group.encoders
        )
        widths = [_width(part) for part in group.parts]
        widths += [encoder.out_features for encoder in self.encoders]  # type: ignore[misc]
        self.dropout = VariationalDropout(widths, *group.dropout) if group.dropout else None
        self.out_features = sum(widths)

    def forward(self, vectors: dict[str, Tensor], lengths: dict[str, Tensor]) -> Tensor:
        """float32 [R, F].

        Args:
            vectors: float32 [R, D], or [E, D] of a sequence, by the part's name.
            lengths: integers [R], elements of each row, by sequence feature.
        """
        parts = [self._vector(part, vectors) for part in self.group.parts]
        by_name = {one.name: one for one in self.group.sequences}
        for encoder, module in zip(self.group.encoders, self.encoders, strict=True):
            chosen = by_name[encoder.input]
            elements_ES = torch.cat([self._vector(part, vectors) for part in chosen.sequence], dim=1)
            lengths_R = lengths[feature_of(chosen.sequence[0]).name]
            query = [self._vector(part, vectors) for part in chosen.query]
            parts.append(module(elements_ES, lengths_R, torch.cat(query, dim=1) if query else None))
        input_RF = torch.cat(parts, dim=1)
        return input_RF if self.dropout is None else self.dropout(input_RF)

    def _vector(self, part: Part, vectors: dict[str, Tensor]) -> Tensor:
        found = vectors[part.name]
        if isinstance(part, RawFeature) and part.embedding is not None:
            return self.dense[self.places[part.name]](found)
        return found

    def with_plain_names(self) -> "GroupInput":
        """The same layers, not copies, under names that are identifiers whatever the features are called.

        A file of TorchScript cannot be read back where a layer's name is none; those of a checkpoint
        stay as they are.
        """
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.places = {name: f"feature_{number}" for number, name in enumerate(self.places)}
        other.dense = nn.ModuleDict(
            {other.places[name]: self.dense[self.places[name]] for name in self.places}
        )
        return other


def _width(part: Part) -> int:
    return part.width if isinstance(part, RawFeature) else part.table.dim


def width(parts: Sequence[Part]) -> int:
    """Floats of these parts side by side."""
    return sum(_width(part) for part in parts)


def key(name: str) -> str:
    """A feature's name inside a model: no clash with what a ModuleDict defines ("items"), no dot."""
    return "feature_" + name.replace("%", "%25").replace(".", "%2E")
