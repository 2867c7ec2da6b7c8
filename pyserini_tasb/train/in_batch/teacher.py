"""What an in-batch teacher does, and which class a model's name leads to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch

from pyserini_tasb.encode.text_encoder import TextEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.model.kind import kind_of
from pyserini_tasb.recipes import encoder_card
from pyserini_tasb.score.colbert import ColBertScorer
from pyserini_tasb.score.pair_scorer import ScoringOptions
from pyserini_tasb.train.in_batch.bi_encoder import BiEncoderTeacher
from pyserini_tasb.train.in_batch.colbert import ColBertTeacher
from pyserini_tasb.train.in_batch.tokens import TeacherTokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.train.config import TrainConfig
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.losses import InBatchScores
    from pyserini_tasb.train.sampling import TrainingBatch
    from pyserini_tasb.train.store import PairStore
    from pyserini_tasb.train.student import Student


class InBatchTeacher(Protocol):
    """A frozen model that scores a batch's queries with all its passages."""

    def in_batch(self, batch: TrainingBatch) -> InBatchScores:
        """Scores of the whole batch, on the student's device."""

    def margins(self, queries: Sequence[str], positives: Sequence[str], negatives: Sequence[str]) -> torch.Tensor:
        """[n] each query's score with its positive less that with its negative."""


def load_in_batch_teacher(
    config: TrainConfig, student: Student, store: PairStore, processes: Processes
) -> InBatchTeacher:
    """The teacher that `teacher.in_batch` names: an encoder card's model, or a ColBERT.

    Raises:
        TasbError: no such model, or one that cannot score a whole batch (a cross-encoder).
    """
    name = str(config.teacher.in_batch)
    card = encoder_card(name)
    if config.teacher.allow_bin:
        card = card.model_copy(update={"allow_bin": True})
    folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
    kind = kind_of(folder, pooling=card.pooling)
    card = card.model_copy(update={"precision": "fp32" if student.compute is torch.float32 else "bf16"})
    device = _device(student, processes)
    tokens = partial(TeacherTokens, student=student, caps=config.student, store=store, processes=processes)
    if kind == "bert-dot":
        encoder = TextEncoder(card, device)
        return BiEncoderTeacher(encoder, tokens(encoder.tokenizer, card.query_prefix, card.passage_prefix))
    if kind == "colbert":
        colbert = ColBertScorer(folder, ScoringOptions(device, card.precision))
        return ColBertTeacher(colbert, tokens(colbert.tokenizer, "", ""))
    raise TasbError(
        where=str(folder),
        expected="a bi-encoder or a ColBERT as `teacher.in_batch`: they score every query with every passage",
        found=f"a cross-encoder ({kind}), which would have to read each of b² pairs",
        do="let it score the pairs beforehand (`tasb score`), and take a ColBERT in batch (`tasb teach colbert`)",
    )


def _device(student: Student, processes: Processes) -> str:
    """A second GPU where one stands idle, else the student's device."""
    idle = processes.world == 1 and student.device.startswith("cuda") and torch.cuda.device_count() > 1
    return "cuda:1" if idle and student.device != "cuda:1" else student.device  # not run here: no GPU
