"""A ColBERT as in-batch teacher: the paper's (Section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pyserini_tasb.model.max_sim import max_sim, max_sim_of_pairs
from pyserini_tasb.score.colbert import rectangle
from pyserini_tasb.train.losses import InBatchScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.score.colbert import ColBertScorer
    from pyserini_tasb.train.in_batch.tokens import TeacherTokens
    from pyserini_tasb.train.sampling import TrainingBatch


class ColBertTeacher:
    """Scores of every query with every passage by `max_sim`, in chunks: a batch of 4,096 has 2e11 similarities.

    Args:
        colbert: the model, at the precision it computes in.
        tokens: what it reads.
    """

    def __init__(self, colbert: ColBertScorer, tokens: TeacherTokens) -> None:
        self._colbert, self.tokens = colbert, tokens
        self._longest_query = tokens.caps.query_max_length + colbert.model.query_masks
        self._longest_passage = tokens.caps.passage_max_length

    def in_batch(self, batch: TrainingBatch) -> InBatchScores:
        """As of `InBatchTeacher`."""
        queries, passages = self.tokens.of_batch(batch)
        asked = self._whole(self._colbert.query_vectors(queries), len(batch.queries), self._longest_query)
        vectors = self._colbert.vectors(passages)
        half = len(vectors) // 2
        positives, negatives = (
            self._whole(part, len(batch.queries), self._longest_passage) for part in (vectors[:half], vectors[half:])
        )
        return InBatchScores(
            max_sim(*asked, *positives).to(self.tokens.student.device),
            max_sim(*asked, *negatives).to(self.tokens.student.device),
        )

    def margins(self, queries: Sequence[str], positives: Sequence[str], negatives: Sequence[str]) -> torch.Tensor:
        """As of `InBatchTeacher`."""
        asked, passages = self.tokens.of_texts(queries, [*positives, *negatives])
        of_queries = rectangle(self._colbert.query_vectors(asked))
        vectors = self._colbert.vectors(passages)
        scores = [
            max_sim_of_pairs(*of_queries, *rectangle(part))
            for part in (vectors[: len(queries)], vectors[len(queries) :])
        ]
        return (scores[0] - scores[1]).to(self.tokens.student.device)

    def _whole(self, own: Sequence[torch.Tensor], size: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors and mask of the whole batch, from those of this process's share."""
        vectors, mask = rectangle(own)
        processes = self.tokens.processes
        if processes.world > 1:  # all processes' parts have to be of one width
            room = longest - vectors.shape[1]
            vectors = torch.nn.functional.pad(vectors, (0, 0, 0, room))
            mask = torch.nn.functional.pad(mask, (0, room))
        return processes.gather(vectors, size), processes.gather(mask.float(), size)
