"""Losses of a query's whole list: all positives and all negatives of the batch (paper, Section 5.1 and Table 3).

Passages known to be relevant to the query, other than its own positive, leave its list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.train.losses.registry import in_batch_loss

if TYPE_CHECKING:
    from torch import Tensor

    from pyserini_tasb.train.losses.scores import InBatchScores, KnownPositives


@in_batch_loss("kldiv")
def kl_divergence(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """KL divergence of the student's softmax from the teacher's over each list, mean over queries (Table 3, KLDiv).

    Never negative. (The released code passes softmax where torch expects log-softmax, and is.)

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: what leaves the lists.
    """
    absent = known.lists()
    ours, theirs = _log_softmax(student.lists(), absent), _log_softmax(teacher.lists(), absent)
    return (_softmax(teacher.lists(), absent) * (theirs - ours)).sum(dim=1).mean()


@in_batch_loss("listnet")
def listnet(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """ListNet: cross-entropy of the student's top-one probabilities with the teacher's (Cao et al., ICML 2007).

    `kldiv` plus the teacher's entropy, so its gradient is the same; mean over queries (Table 3, ListNet).

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: what leaves the lists.
    """
    absent = known.lists()
    return -(_softmax(teacher.lists(), absent) * _log_softmax(student.lists(), absent)).sum(dim=1).mean()


def _softmax(scores: Tensor, absent: Tensor) -> Tensor:
    return scores.masked_fill(absent, -float("inf")).softmax(dim=1)


def _log_softmax(scores: Tensor, absent: Tensor) -> Tensor:
    """Log-softmax over what is in the list; 0 for what is not, where -inf times probability 0 would be NaN."""
    return scores.masked_fill(absent, -float("inf")).log_softmax(dim=1).masked_fill(absent, 0.0)
