"""Margin-MSE with every other passage of the batch as a negative (paper, Eq. 7), in three readings of that equation.

A query's own positive is paired with each passage; the student's margin becomes the in-batch teacher's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyserini_tasb.train.losses.registry import in_batch_loss
from pyserini_tasb.train.losses.scores import InBatchScores, KnownPositives


@in_batch_loss("margin-mse")
def margin_mse_mean(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """The mean over other queries' positives and the mean over their negatives, halved and added.

    Passages known to be relevant to the query are no negatives of it, and left out of the means. Where nothing is
    known this is the released code's form, for which alpha = 0.75 was chosen. A batch of one query has no other
    passages: 0.

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: what is left out.
    """
    positives, negatives = _errors(student, teacher)
    other_positives, other_negatives = known.other_passages()
    return (_mean_square(positives, other_positives) + _mean_square(negatives, other_negatives)) / 2


@in_batch_loss("margin-mse-eq7")
def margin_mse_eq7(student: InBatchScores, teacher: InBatchScores, _known: KnownPositives) -> Tensor:
    """Eq. 7 as printed: the sum over all pairs, divided by 2b; about b times `margin-mse`.

    It includes the own negative (and the own positive, whose margin is 0 for both), and masks nothing.

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
    """
    positives, negatives = _errors(student, teacher)
    return (positives.square().sum() + negatives.square().sum()) / (2 * student.size)


@in_batch_loss("margin-mse-released")
def margin_mse_released(student: InBatchScores, teacher: InBatchScores, _known: KnownPositives) -> Tensor:
    """As the authors' matchmaker library computes it: `margin-mse` without a mask for known positives.

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
    """
    return margin_mse_mean(student, teacher, KnownPositives.none(student.size, student.positives.device))


def _errors(student: InBatchScores, teacher: InBatchScores) -> tuple[Tensor, Tensor]:
    """Student's margin minus teacher's, [b, b] for the positives and for the negatives."""
    ours, theirs = student.margins(), teacher.margins()
    return ours.positives - theirs.positives, ours.negatives - theirs.negatives


def _mean_square(errors: Tensor, keep: Tensor) -> Tensor:
    # Left out before it is squared: 0 times an infinite error would be NaN.
    return torch.where(keep, errors, 0.0).square().sum() / keep.sum().clamp(min=1)
