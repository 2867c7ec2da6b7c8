"""From a batch to the loss of a dual encoder: every text becomes a vector, and vectors are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.train.gradient_cache import Encoded, tokens_per_forward
from pyserini_tasb.train.objective import BatchVectors, Losses, Objective

if TYPE_CHECKING:
    from pyserini_tasb.train.config import TrainConfig
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.in_batch import InBatchTeacher
    from pyserini_tasb.train.sampling import TrainingBatch
    from pyserini_tasb.train.student import Student


class DualEncoderForward:
    """One forward pass for queries, positives and negatives together.

    Args:
        student: the model.
        teacher: the in-batch teacher.
        objective: the losses.
        config: of the run.
        processes: each encodes its share; all compute the whole batch's loss.
    """

    def __init__(
        self,
        student: Student,
        teacher: InBatchTeacher | None,
        objective: Objective,
        config: TrainConfig,
        processes: Processes,
    ) -> None:
        self._student, self._teacher, self._objective = student, teacher, objective
        self._config, self._processes = config, processes
        self._tokens_per_forward = tokens_per_forward(config, student)

    def __call__(self, batch: TrainingBatch, seed: int) -> tuple[Encoded[list[int]], Losses]:
        """As of `Forward`."""
        texts = Encoded(
            self._student,
            [*batch.query_tokens, *batch.passage_tokens],
            tokens_per_forward=self._tokens_per_forward,
            cached=self._config.gradient_cache,
            seed=seed,
        )
        size, gather = len(batch.queries), self._processes.gather
        queries, positives, negatives = (gather(own, size) for own in texts.outputs.chunk(3))
        teacher = None if self._teacher is None else self._teacher.in_batch(batch)
        return texts, self._objective(BatchVectors(queries, positives, negatives), batch, teacher)
