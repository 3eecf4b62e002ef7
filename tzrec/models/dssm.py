"""DSSM: two towers, one vector each (Huang et al., CIKM 2013, in its retrieval form).

Shape letters: B rows of users, M = B + N + H rows of items (positives, shared and hard negatives),
F floats in, D floats out.
"""

from typing import NamedTuple

from torch import Tensor, nn

from tzrec.datasets.batch import Batch
from tzrec.models.softmax import Logits, candidate_logits
from tzrec.models.ties import candidate_keys
from tzrec.modules.embedding import TwoSidedEmbedding
from tzrec.modules.mlp import Tower


class Vectors(NamedTuple):
    """What the towers make of a batch: user float32 [B, D], item float32 [M, D]."""

    user: Tensor
    item: Tensor


class DSSM(nn.Module):
    """Embeddings, a user tower, an item tower, and scores between them.

    Args:
        embeddings: from a batch to the inputs of the towers.
        user_tower, item_tower: from inputs to vectors of one length.
        temperature: what similarities are divided by.
        in_batch_negative: the items of the other rows are negatives too.
    """

    def __init__(
        self,
        embeddings: TwoSidedEmbedding,
        user_tower: Tower,
        item_tower: Tower,
        temperature: float,
        in_batch_negative: bool,
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.user_tower = user_tower
        self.item_tower = item_tower
        self.temperature = temperature
        self.in_batch_negative = in_batch_negative

    def forward(self, batch: Batch, looked_up: dict[str, Tensor] | None = None) -> tuple[Vectors, Logits]:
        """Vectors and scores of a batch.

        Args:
            batch: with its candidates.
            looked_up: what `embeddings.look_up` has found for it; None looks up here.
        """
        user_BF, item_MF = self.embeddings(batch, looked_up)
        vectors = Vectors(self.user_tower(user_BF), self.item_tower(item_MF))
        logits = candidate_logits(
            vectors.user, vectors.item, batch.candidates, self.temperature, self.in_batch_negative
        )
        if not self.training:
            keys = candidate_keys(item_MF, vectors.item, batch.candidates, self.in_batch_negative)
            logits = logits._replace(keys=keys)
        return vectors, logits
