"""One step of training: batches in, losses, gradients, weights moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
import torch

from pyserini_tasb.models.on_cpu import seed_cpu_dropout
from pyserini_tasb.models.tokenizers import batches_by_length
from pyserini_tasb.training.losses import IN_BATCH, PAIRWISE, KnownPositives, dual_supervision, matryoshka
from pyserini_tasb.training.students import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.training.assembly import Assembly
    from pyserini_tasb.training.batches import TrainingBatch
    from pyserini_tasb.training.margins import MarginScale
    from pyserini_tasb.training.students import Student


class LossIsNotFiniteError(Exception):
    """A batch's loss is infinite or not a number; the weights are as they were before it."""

    def __init__(self, batch: TrainingBatch, loss: BatchLoss) -> None:
        super().__init__(f"the loss of batch {batch.step} is {loss.total.item()}")
        self.batch, self.loss = batch, loss


@dataclass(frozen=True)
class StepReport:
    """A step's losses, means of its batches', and the tokens of this process's share of them."""

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
        parts: what takes part in the run.
        margins: how the teachers' margins are rescaled.
    """

    def __init__(self, parts: Assembly[Any], margins: MarginScale) -> None:
        self._parts, self._margins = parts, margins

    def run(self, step: int, batches: Sequence[TrainingBatch]) -> StepReport:
        """Train on `batches`, whose gradients are averaged.

        Raises:
            LossIsNotFiniteError: before the weights are moved.
        """
        optimisation, processes = self._parts.optimisation, self._parts.processes
        losses, pairwise, in_batch, tokens, tokens_with_padding = [], [], [], 0, 0
        for batch in batches:
            loss = self._loss(step, batch)
            if processes.any(not bool(torch.isfinite(loss.total))):
                raise LossIsNotFiniteError(batch, loss)
            loss.back_propagate(optimisation.scaled(loss.total / len(batches)))
            losses.append(float(loss.total.detach()))
            pairwise.append(loss.pairwise)
            in_batch.append(loss.in_batch)
            tokens += loss.encoded.tokens
            tokens_with_padding += loss.encoded.tokens_with_padding
        rate, norm = optimisation.update(step, processes)
        return StepReport(
            loss=sum(losses) / len(losses),
            pairwise=_mean(pairwise),
            in_batch=_mean(in_batch),
            learning_rate=rate,
            gradient_norm=norm,
            tokens=tokens,
            tokens_with_padding=tokens_with_padding,
        )

    def _loss(self, step: int, batch: TrainingBatch) -> BatchLoss:
        """The whole batch's loss, of which this process encodes its share in one pass for queries and passages."""
        student: Student[Any] = self._parts.student
        config, loss = self._parts.config, self._parts.loss
        encoded = Encoded(
            student,
            student.items(batch),
            tokens_per_forward=config.tokens_per_forward or usual_tokens_per_forward(student),
            cached=config.gradient_cache,
            seed=self._dropout_seed(batch.step),
        )
        size, gather = len(batch.queries), self._parts.processes.gather
        own = torch.split(encoded.outputs, student.block_sizes(batch))
        blocks = [gather(block, size, each=len(block) // len(batch.query_tokens)) for block in own]
        teacher = None if self._parts.teacher is None else self._parts.teacher.in_batch(batch)
        pairwise = in_batch = None
        if loss.pairwise is not None:
            margins = None
            if batch.margins is not None:
                margins = self._margins.pairwise.margins(_tensor(batch.margins, student.device))
            own_pairs = PAIRWISE[loss.pairwise]
            ranks = None if loss.curriculum is None else loss.curriculum.ranks_at(step)
            pairwise = self._at_each_length(
                lambda *cut: own_pairs(*student.pair_scores(*cut), margins, ranks=ranks), blocks
            )
        if loss.in_batch is not None:
            targets = None if teacher is None else self._margins.in_batch.scores(teacher)
            known = KnownPositives(
                _tensor(batch.known_positives, student.device), _tensor(batch.known_negatives, student.device)
            )
            all_pairs, temperature = IN_BATCH[loss.in_batch], loss.temperature
            in_batch = self._at_each_length(
                lambda *cut: all_pairs(student.in_batch_scores(*cut), targets, known, temperature=temperature), blocks
            )
        return BatchLoss(dual_supervision(pairwise, in_batch, loss.alpha), pairwise, in_batch, encoded)

    def _at_each_length(self, loss: Callable[..., torch.Tensor], blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """A loss of the outputs, or with `loss.matryoshka` its weighted sum over prefixes of the vectors."""
        lengths = self._parts.loss.matryoshka
        if lengths is None:
            return loss(*blocks)
        return matryoshka(loss, blocks, lengths.factors, normalise=self._parts.student.scores_are == "cosines")

    def _dropout_seed(self, batch: int) -> int:
        """A function of the run's seed, the batch and this process, so that a resumed run needs no saved state."""
        sequence = np.random.SeedSequence([self._parts.config.seed, batch, self._parts.processes.rank])
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(2))  # leaves room for the chunks' numbers


def _tensor(array: NDArray[np.float32] | NDArray[np.bool_], device: str) -> torch.Tensor:
    return torch.from_numpy(array).to(device)


def _mean(values: Sequence[torch.Tensor | None]) -> float | None:
    present = [float(value.detach()) for value in values if value is not None]
    return sum(present) / len(present) if present else None


@dataclass(frozen=True)
class BatchLoss:
    """A batch's loss, and the way back from it.

    Args:
        total: what is back-propagated.
        pairwise: part of it, before alpha; None where the configuration has none.
        in_batch: likewise.
        encoded: what the model made of this process's share.
    """

    total: torch.Tensor
    pairwise: torch.Tensor | None
    in_batch: torch.Tensor | None
    encoded: Encoded[Any]

    def back_propagate(self, scaled: torch.Tensor) -> None:
        """Add to the model's gradients those of `scaled`, a multiple of `total`."""
        scaled.backward()  # type: ignore[no-untyped-call]
        self.encoded.backward()


class Encoded(Generic[Item]):
    """Items encoded in chunks of similar length, whose outputs can be back-propagated through.

    With `cached`, no chunk keeps its activations: the way back encodes each chunk again, with the same dropout, so
    that memory is one chunk's whatever the batch (GradCache; Gao et al., 2021, arXiv 2101.06983).

    Args:
        student: the model.
        items: every chunk holds at most `tokens_per_forward` of their tokens, with what would be padding.
        tokens_per_forward: see above.
        cached: see above.
        seed: the random seed of the dropout; the same in both passes.
    """

    def __init__(
        self, student: Student[Item], items: Sequence[Item], *, tokens_per_forward: int, cached: bool, seed: int
    ) -> None:
        self._student, self._items, self._cached, self._seed = student, items, cached, seed
        lengths = [student.length(item) for item in items]
        self._chunks = list(batches_by_length(lengths, tokens_per_forward))
        self.tokens = sum(lengths)
        self.tokens_with_padding = self.tokens
        if not student.packed:
            self.tokens_with_padding = sum(len(chunk) * lengths[chunk[0]] for chunk in self._chunks)  # longest first
        with torch.set_grad_enabled(not cached), student.autocast():
            parts = torch.cat([self._encode(number) for number in range(len(self._chunks))])
        order = torch.cat([torch.from_numpy(chunk) for chunk in self._chunks])
        self._graph = parts[torch.argsort(order)]
        self.outputs = self._graph.detach().requires_grad_()

    def backward(self) -> None:
        """Add to the model's gradients what `outputs.grad` says."""
        gradient = self.outputs.grad
        if gradient is None:  # a loss that no output has a part in
            return
        if not self._cached:
            self._graph.backward(gradient)  # type: ignore[no-untyped-call]
            return
        for number, chunk in enumerate(self._chunks):
            with self._student.autocast():
                outputs = self._encode(number)
            outputs.backward(gradient[torch.from_numpy(chunk)])  # type: ignore[no-untyped-call]

    def _encode(self, number: int) -> torch.Tensor:
        # A chunk's dropout depends on nothing that came before it, so nothing of it has to be saved and restored.
        torch.manual_seed(self._seed + number)
        seed_cpu_dropout(self._seed + number)
        return self._student.outputs([self._items[position] for position in self._chunks[number]])


# Measured with MiniLM on 2 cores: smaller chunks have less padding, larger ones use the hardware better.
TOKENS_PER_FORWARD = {"cpu": 2_048, "cuda": 32_768}
PACKED_TOKENS_PER_FORWARD = {"cpu": 16_384, "cuda": 32_768}


def usual_tokens_per_forward(student: Student[Any]) -> int:
    """The size of chunks, where the configuration gives none."""
    tokens = PACKED_TOKENS_PER_FORWARD if student.packed else TOKENS_PER_FORWARD
    return tokens[torch.device(student.device).type]
