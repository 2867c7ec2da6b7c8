"""The two axes of losses, and what every loss gets: full precision, checked shapes, a teacher without gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from pyserini_tasb.train.losses.scores import InBatchScores, KnownPositives

PairwiseLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(student's scores of the positives [b], of the negatives [b], teacher's margins [b] or None) → scalar."""

InBatchLoss: TypeAlias = Callable[[InBatchScores, InBatchScores, KnownPositives], Tensor]
"""(student's scores, teacher's scores, what to mask) → scalar."""

PAIRWISE: dict[str, PairwiseLoss] = {}
IN_BATCH: dict[str, InBatchLoss] = {}


def pairwise_loss(name: str) -> Callable[[PairwiseLoss], PairwiseLoss]:
    """Decorator: register a pairwise loss. It is given vectors of one length and one type, fp64 or fp32."""

    def register(loss: PairwiseLoss) -> PairwiseLoss:
        @functools.wraps(loss)
        def guarded(student_positives: Tensor, student_negatives: Tensor, teacher_margins: Tensor | None) -> Tensor:
            given = [student_positives, student_negatives, *([] if teacher_margins is None else [teacher_margins])]
            if len({tensor.shape for tensor in given}) > 1 or student_positives.ndim != 1:
                # [b, 1] against [b] would broadcast to [b, b] and train on nonsense.
                raise ValueError(f"{name}: expected vectors of one length, found {[tuple(t.shape) for t in given]}")
            precision = _precision(student_positives)
            with torch.autocast(student_positives.device.type, enabled=False):
                return loss(
                    student_positives.to(precision),
                    student_negatives.to(precision),
                    None if teacher_margins is None else teacher_margins.detach().to(precision),
                )

        PAIRWISE[name] = guarded
        return guarded

    return register


def in_batch_loss(name: str) -> Callable[[InBatchLoss], InBatchLoss]:
    """Decorator: register an in-batch loss. It is given matrices of one size and one type, fp64 or fp32."""

    def register(loss: InBatchLoss) -> InBatchLoss:
        @functools.wraps(loss)
        def guarded(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
            sizes = [student.size, teacher.size, known.size]
            if len(set(sizes)) > 1:
                raise ValueError(f"{name}: expected one batch size of student, teacher and masks, found {sizes}")
            precision = _precision(student.positives)
            with torch.autocast(student.positives.device.type, enabled=False):
                return loss(student.to(precision), teacher.detach().to(precision), known)

        IN_BATCH[name] = guarded
        return guarded

    return register


def _precision(scores: Tensor) -> torch.dtype:
    """fp64 stays; else fp32, whatever autocast made of the model: scores near 100 would be rounded to 1/16 in fp16."""
    return torch.float64 if scores.dtype == torch.float64 else torch.float32
