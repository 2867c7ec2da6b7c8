"""A bi-encoder as in-batch teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pyserini_tasb.train.losses import InBatchScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.encode.text_encoder import TextEncoder
    from pyserini_tasb.train.in_batch.tokens import TeacherTokens
    from pyserini_tasb.train.sampling import TrainingBatch


class BiEncoderTeacher:
    """Dot products of an encoder card's vectors.

    Args:
        encoder: the model, at the precision it computes in.
        tokens: what it reads.
    """

    def __init__(self, encoder: TextEncoder, tokens: TeacherTokens) -> None:
        self._encoder, self.tokens = encoder, tokens

    def in_batch(self, batch: TrainingBatch) -> InBatchScores:
        """As of `InBatchTeacher`."""
        queries, passages = self.tokens.of_batch(batch)
        own = self._vectors([*queries, *passages]).chunk(3)
        size, gather = len(batch.queries), self.tokens.processes.gather
        asked, positives, negatives = (gather(vectors, size) for vectors in own)
        return InBatchScores(asked @ positives.T, asked @ negatives.T)

    def margins(self, queries: Sequence[str], positives: Sequence[str], negatives: Sequence[str]) -> torch.Tensor:
        """As of `InBatchTeacher`."""
        asked, passages = self.tokens.of_texts(queries, [*positives, *negatives])
        vectors = self._vectors([*asked, *passages]).chunk(3)
        return ((vectors[1] - vectors[2]) * vectors[0]).sum(dim=1)

    def _vectors(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.from_numpy(self._encoder.encode_tokens(token_ids)).to(self.tokens.student.device)
