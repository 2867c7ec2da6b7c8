"""One step of training: batches in, weights moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.gradient_cache import Encoded
    from pyserini_tasb.train.objective import Losses
    from pyserini_tasb.train.optimisation import Optimisation
    from pyserini_tasb.train.sampling import TrainingBatch


class LossIsNotFiniteError(Exception):
    """A batch's loss is infinite or not a number; the weights are as they were before it."""

    def __init__(self, batch: TrainingBatch, losses: Losses) -> None:
        super().__init__(f"the loss of batch {batch.step} is {losses.total.item()}")
        self.batch, self.losses = batch, losses


class Forward(Protocol):
    """The way from a batch to its loss."""

    def __call__(self, batch: TrainingBatch, seed: int) -> tuple[Encoded[Any], Losses]:
        """What the model made of this process's share, and the whole batch's loss of it; `seed` is the dropout's."""


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
    """Runs steps.

    Args:
        forward: from batches to losses.
        optimisation: moves the weights.
        processes: all that train together.
        seed: of the run.
    """

    def __init__(self, forward: Forward, optimisation: Optimisation, processes: Processes, seed: int) -> None:
        self._forward, self._optimisation, self._processes, self._seed = forward, optimisation, processes, seed

    def run(self, step: int, batches: Sequence[TrainingBatch]) -> StepReport:
        """Train on `batches`, whose gradients are averaged.

        Raises:
            LossIsNotFiniteError: before the weights are moved.
        """
        losses, tokens, tokens_with_padding = [], 0, 0
        for batch in batches:
            encoded, loss = self._forward(batch, self._dropout_seed(batch.step))
            if self._processes.any(not bool(torch.isfinite(loss.total))):
                raise LossIsNotFiniteError(batch, loss)
            self._optimisation.scaled(loss.total / len(batches)).backward()  # type: ignore[no-untyped-call]
            encoded.backward()
            losses.append(loss)
            tokens += encoded.tokens
            tokens_with_padding += encoded.tokens_with_padding
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

    def _dropout_seed(self, batch: int) -> int:
        """Of this batch in this process: a function of these, so that a resumed run needs no saved state."""
        sequence = np.random.SeedSequence([self._seed, batch, self._processes.rank])
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(2))  # leaves room for the chunks' numbers


def _mean(values: Sequence[torch.Tensor | None]) -> float | None:
    present = [float(value.detach()) for value in values if value is not None]
    return sum(present) / len(present) if present else None
