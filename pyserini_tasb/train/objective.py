"""What a batch's vectors are trained towards: dual supervision (paper, Section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pyserini_tasb.train.losses import (
    IN_BATCH,
    PAIRWISE,
    InBatchScores,
    KnownPositives,
    MarginRescale,
    dual_supervision,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.train.config import LossConfig
    from pyserini_tasb.train.sampling import TrainingBatch


@dataclass(frozen=True)
class BatchVectors:
    """Vectors of a whole batch, each [b, dimension], row i for query i, its positive, its negative."""

    queries: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor

    def in_batch_scores(self) -> InBatchScores:
        """Dot products of every query with every passage."""
        return InBatchScores(self.queries @ self.positives.T, self.queries @ self.negatives.T)

    def pair_scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Dot products [b] of each query with its own positive and its own negative."""
        return (self.queries * self.positives).sum(dim=1), (self.queries * self.negatives).sum(dim=1)


@dataclass(frozen=True)
class Losses:
    """A batch's loss and its parts before alpha; a part is None where the configuration has none."""

    total: torch.Tensor
    pairwise: torch.Tensor | None
    in_batch: torch.Tensor | None


@dataclass(frozen=True)
class Objective:
    """The configured losses, and the scale that each teacher's margins are brought to first."""

    config: LossConfig
    pairwise_rescale: MarginRescale
    in_batch_rescale: MarginRescale

    def __call__(self, student: BatchVectors, batch: TrainingBatch, teacher: InBatchScores | None) -> Losses:
        """Both losses of a whole batch; `teacher` holds the in-batch teacher's scores, if there is one."""
        device = student.queries.device
        pairwise = in_batch = None
        if self.config.pairwise is not None:
            margins = batch.margins
            targets = None if margins is None else self.pairwise_rescale.margins(_tensor(margins, device))
            pairwise = PAIRWISE[self.config.pairwise](*student.pair_scores(), targets)
        if self.config.in_batch is not None and teacher is not None:
            known = KnownPositives(_tensor(batch.known_positives, device), _tensor(batch.known_negatives, device))
            targets_in_batch = self.in_batch_rescale.scores(teacher)
            in_batch = IN_BATCH[self.config.in_batch](student.in_batch_scores(), targets_in_batch, known)
        return Losses(dual_supervision(pairwise, in_batch, self.config.alpha), pairwise, in_batch)


def _tensor(array: NDArray[np.float32] | NDArray[np.bool_], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device)
