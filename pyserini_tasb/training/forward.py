"""From a batch to a loss and back to gradients, in chunks that fit into memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from pyserini_tasb.models.on_cpu import seed_cpu_dropout
from pyserini_tasb.models.tokenizers import batches_by_length
from pyserini_tasb.training.losses import IN_BATCH, PAIRWISE, InBatchScores, KnownPositives, dual_supervision

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.training.batches import TrainingBatch
    from pyserini_tasb.training.config import LossConfig, RunConfig, TeachConfig, TrainConfig
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.margins import MarginRescale
    from pyserini_tasb.training.students import Pair, PairStudent, Student
    from pyserini_tasb.training.teachers import InBatchTeacher


# Measured with MiniLM on 2 cores: smaller chunks have less padding, larger ones use the hardware better.
TOKENS_PER_FORWARD = {"cpu": 2_048, "cuda": 32_768}
PACKED_TOKENS_PER_FORWARD = 16_384
Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class Learner(Protocol[Item_contra]):
    """A model in training, and what it computes of an item: a text's vector, a pair's score."""

    @property
    def device(self) -> str:
        """`cpu`, `cuda:0`, …"""

    @property
    def packed(self) -> bool:
        """Whether it computes without padding."""

    def length(self, item: Item_contra) -> int:
        """Tokens of an item."""

    def outputs(self, items: Sequence[Item_contra]) -> torch.Tensor:
        """[items, …] in fp32, with their graph if gradients are on."""

    def autocast(self) -> torch.autocast:
        """Reduced precision for what is computed inside."""


class Encoded(Generic[Item]):
    """Items encoded in chunks of similar length, whose outputs can be back-propagated through.

    With `cached`, no chunk keeps its activations: the way back encodes each chunk again, with the same dropout, so
    that memory is one chunk's whatever the batch (GradCache; Gao et al., 2021, arXiv 2101.06983).

    Args:
        learner: the model.
        items: every chunk holds at most `tokens_per_forward` of their tokens, with what would be padding.
        tokens_per_forward: see above.
        cached: see above.
        seed: of the dropout; the same in both passes.
    """

    def __init__(
        self, learner: Learner[Item], items: Sequence[Item], *, tokens_per_forward: int, cached: bool, seed: int
    ) -> None:
        self._learner, self._items, self._cached, self._seed = learner, items, cached, seed
        lengths = [learner.length(item) for item in items]
        self._chunks = list(batches_by_length(lengths, tokens_per_forward))
        self.tokens = sum(lengths)
        self.tokens_with_padding = self.tokens
        if not learner.packed:
            self.tokens_with_padding = sum(len(chunk) * lengths[chunk[0]] for chunk in self._chunks)  # longest first
        with torch.set_grad_enabled(not cached), learner.autocast():
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
            with self._learner.autocast():
                outputs = self._encode(number)
            outputs.backward(gradient[torch.from_numpy(chunk)])  # type: ignore[no-untyped-call]

    def _encode(self, number: int) -> torch.Tensor:
        # A chunk's dropout depends on nothing that came before it, so nothing of it has to be saved and restored.
        torch.manual_seed(self._seed + number)
        seed_cpu_dropout(self._seed + number)
        return self._learner.outputs([self._items[position] for position in self._chunks[number]])


def tokens_per_forward(config: RunConfig, learner: Learner[Any]) -> int:
    """The configured chunk, or the device's usual one."""
    usual = PACKED_TOKENS_PER_FORWARD if learner.packed else TOKENS_PER_FORWARD[torch.device(learner.device).type]
    return config.tokens_per_forward or usual


# --------
# What a batch's vectors are trained towards: dual supervision (paper, Section 2.3).


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


# --------
# From a batch to the loss of a dual encoder: every text becomes a vector, and vectors are compared.


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


# --------
# From a batch to a teacher's loss: each query with its own positive and its own negative.


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
