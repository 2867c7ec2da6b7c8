"""Losses of a query's own positive and negative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.losses.registry import pairwise_loss

if TYPE_CHECKING:
    from torch import Tensor


@pairwise_loss("margin-mse")
def margin_mse(student_positives: Tensor, student_negatives: Tensor, teacher_margins: Tensor | None) -> Tensor:
    """Margin-MSE: the student's margins become the teacher's (paper, Eq. 6; Hofstätter et al. 2020, arXiv 2010.02666).

    Margins rather than scores, so the student is free in where each query's scores lie.

    Args:
        student_positives: [b] scores of the own positives.
        student_negatives: [b] scores of the own negatives.
        teacher_margins: [b] teacher's score of the positive minus that of the negative.

    Raises:
        TasbError: there are no margins.
    """
    if teacher_margins is None:
        raise TasbError(
            expected="teacher scores or margins for the loss `margin-mse`",
            found="pairs with labels alone",
            do="train with the loss `ranknet`, or score the pairs with a teacher first",
        )
    return functional.mse_loss(student_positives - student_negatives, teacher_margins)


@pairwise_loss("ranknet")
def ranknet(student_positives: Tensor, student_negatives: Tensor, _teacher_margins: Tensor | None) -> Tensor:
    """RankNet: cross-entropy of "the positive is above the negative" (Burges et al., ICML 2005). From labels alone.

    The loss of the paper's teachers and of its baseline without a teacher (Table 4, first row).

    Args:
        student_positives: [b] scores of the own positives.
        student_negatives: [b] scores of the own negatives.
    """
    return functional.softplus(student_negatives - student_positives).mean()
