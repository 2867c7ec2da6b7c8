"""One step of training: batches in, weights moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyserini_tasb.train.gradient_cache import EncodedTexts
from pyserini_tasb.train.objective import BatchVectors, Losses, Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.train.assembly import Assembly
    from pyserini_tasb.train.sampling import TrainingBatch

# Measured with MiniLM on 2 cores: smaller chunks have less padding, larger ones use the hardware better.
TOKENS_PER_FORWARD = {"cpu": 2_048, "cuda": 32_768}


class LossIsNotFiniteError(Exception):
    """A batch's loss is infinite or not a number; the weights are as they were before it."""

    def __init__(self, batch: TrainingBatch, losses: Losses) -> None:
        super().__init__(f"the loss of batch {batch.step} is {losses.total.item()}")
        self.batch, self.losses = batch, losses


@dataclass(frozen=True)
class StepReport:
    """What one step did: means of its batches' losses, and the tokens of this process's share of them."""

    loss: float
    pairwise: float | None
    in_batch: float | None
    learning_rate: float
    gradient_norm: float
    tokens: int
    tokens_with_padding: int


class Stepper:
    """Runs steps of an assembly towards an objective."""

    def __init__(self, parts: Assembly, objective: Objective) -> None:
        self._objective = objective
        self._student, self._optimisation, self._teacher = parts.student, parts.optimisation, parts.teacher
        self._store, self._config, self._processes = parts.store, parts.config, parts.processes
        kind = torch.device(parts.student.device).type
        self._tokens_per_forward = parts.config.tokens_per_forward or TOKENS_PER_FORWARD[kind]

    def run(self, step: int, batches: Sequence[TrainingBatch]) -> StepReport:
        """Train on `batches`, whose gradients are averaged.

        Raises:
            LossIsNotFiniteError: before the weights are moved.
        """
        losses, tokens, tokens_with_padding = [], 0, 0
        for batch in batches:
            texts = EncodedTexts(
                self._student,
                [*batch.query_tokens, *batch.passage_tokens],
                tokens_per_forward=self._tokens_per_forward,
                cached=self._config.gradient_cache,
                seed=self._seed(batch.step),
            )
            loss = self._objective(self._whole(texts.vectors), batch, self._teacher_vectors(batch))
            if self._processes.any(not bool(torch.isfinite(loss.total))):
                raise LossIsNotFiniteError(batch, loss)
            self._optimisation.scaled(loss.total / len(batches)).backward()  # type: ignore[no-untyped-call]
            texts.backward()
            losses.append(loss)
            tokens += texts.tokens
            tokens_with_padding += texts.tokens_with_padding
        rate, norm = self._optimisation.update(step, self._processes)
        return StepReport(
            loss=sum(float(loss.total.detach()) for loss in losses) / len(losses),
            pairwise=_mean([loss.pairwise for loss in losses]),
            in_batch=_mean([loss.in_batch for loss in losses]),
            learning_rate=rate,
            gradient_norm=norm,
            tokens=tokens,
            tokens_with_padding=tokens_with_padding,
        )

    def _teacher_vectors(self, batch: TrainingBatch) -> BatchVectors | None:
        if self._teacher is None:
            return None
        if self._teacher.shares_tokens:
            return self._whole(self._teacher.of_tokens([*batch.query_tokens, *batch.passage_tokens]))
        share = self._processes.share(len(batch.queries))
        queries = self._store.queries.texts(batch.queries[share])
        passages = self._store.passages.texts(np.concatenate([batch.positives[share], batch.negatives[share]]))
        return self._whole(self._teacher.of_texts(queries, passages))

    def _whole(self, own: torch.Tensor) -> BatchVectors:
        """The whole batch's vectors, from those of this process's queries, positives and negatives."""
        queries, positives, negatives = own.chunk(3)
        size = self._config.batch_size
        gather = self._processes.gather
        return BatchVectors(gather(queries, size), gather(positives, size), gather(negatives, size))

    def _seed(self, batch: int) -> int:
        """Of this batch's dropout in this process: a function of these, so that a resumed run needs no saved state."""
        sequence = np.random.SeedSequence([self._config.seed, batch, self._processes.rank])
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(2))  # leaves room for the chunks' numbers


def _mean(values: Sequence[torch.Tensor | None]) -> float | None:
    present = [float(value.detach()) for value in values if value is not None]
    return sum(present) / len(present) if present else None
