"""From a batch to a teacher's loss: each query with its own positive and its own negative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pyserini_tasb.train.gradient_cache import Encoded, tokens_per_forward
from pyserini_tasb.train.losses import PAIRWISE, MarginRescale
from pyserini_tasb.train.objective import Losses

if TYPE_CHECKING:
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.sampling import TrainingBatch
    from pyserini_tasb.train.teach.config import TeachConfig
    from pyserini_tasb.train.teach.pair_student import Pair, PairStudent


class PairForward:
    """One forward pass for both pairs of each query.

    Args:
        student: the model.
        rescale: the scale that margins are brought to.
        config: of the run.
        processes: each scores its share; all compute the whole batch's loss.
    """

    def __init__(self, student: PairStudent, rescale: MarginRescale, config: TeachConfig, processes: Processes) -> None:
        self._student, self._rescale, self._config, self._processes = student, rescale, config, processes
        self._tokens_per_forward = tokens_per_forward(config, student)

    def __call__(self, batch: TrainingBatch, seed: int) -> tuple[Encoded[Pair], Losses]:
        """As of `Forward`."""
        pairs = Encoded(
            self._student,
            list(zip([*batch.query_tokens, *batch.query_tokens], batch.passage_tokens, strict=True)),
            tokens_per_forward=self._tokens_per_forward,
            cached=self._config.gradient_cache,
            seed=seed,
        )
        size, gather = len(batch.queries), self._processes.gather
        positives, negatives = (gather(own, size) for own in pairs.outputs.chunk(2))
        margins = None
        if batch.margins is not None:
            margins = self._rescale.margins(torch.from_numpy(batch.margins).to(self._student.device))
        loss = PAIRWISE[self._config.loss](positives, negatives, margins)
        return pairs, Losses(loss, pairwise=loss, in_batch=None)
