"""LambdaRank in the form nDCG-Loss2 (paper, Table 3; Wang et al., CIKM 2018, "The LambdaLoss Framework")."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pyserini_tasb.train.losses.registry import in_batch_loss

if TYPE_CHECKING:
    from torch import Tensor

    from pyserini_tasb.train.losses.scores import InBatchScores, KnownPositives

# As the released code turns teacher scores into labels: softmax, and 2 more for what gets more than 0.1 %.
RELEVANT_PROBABILITY = 0.001
RELEVANT_BONUS = 2.0
PAIRS_AT_ONCE = 2**24  # a batch of 4,096 has 2.7e11


@in_batch_loss("lambdarank")
def lambdarank(student: InBatchScores, teacher: InBatchScores, known: KnownPositives) -> Tensor:
    """nDCG-Loss2 of each query's list with labels from the teacher, mean over queries.

    The labels are the teacher's softmax over the list, and 2 more where that exceeds 0.001.

    The released code sums over queries. The mean keeps alpha's meaning for every batch size, as in the other losses;
    alpha times the batch size gives the released weight. (It also clamps probabilities at 1e-6, which stops the
    gradient of pairs that are wrong by more than 14; here they keep it.)

    Args:
        student: scores, [b, b] twice.
        teacher: likewise.
        known: what leaves the lists.
    """
    absent = known.lists()
    probabilities = teacher.lists().masked_fill(absent, -float("inf")).softmax(dim=1)
    labels = probabilities + RELEVANT_BONUS * (probabilities > RELEVANT_PROBABILITY)
    scores = student.lists()
    queries = max(1, PAIRS_AT_ONCE // scores.shape[1] ** 2)
    # The way back computes each chunk again, so that only one chunk's pairs are ever in memory.
    losses = [
        checkpoint(ndcg_loss2, *chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(*(torch.split(values, queries) for values in (scores, labels, absent)), strict=True)
    ]
    return torch.cat(losses).mean()


def ndcg_loss2(scores: Tensor, labels: Tensor, absent: Tensor) -> Tensor:
    """-Σ log2 sigmoid(s_i - s_j)^w_ij over pairs with label i above label j; one value a list, [lists].

    w_ij = |1/D_|i-j| - 1/D_|i-j|+1| · |G_i - G_j|, with ranks by descending score, D_r = log2(1 + r), and gains
    G = (2^label - 1) / maxDCG. Weights are constants: no gradient goes through them. Equal scores are ranked in the
    list's order, so their weights depend on it.

    Args:
        scores: [lists, length].
        labels: [lists, length], 0 or more.
        absent: bool [lists, length], True for what is not in the list.
    """
    order = scores.detach().masked_fill(absent, -float("inf")).argsort(dim=1, descending=True, stable=True)
    # 0 instead of a score that may be infinite, which would make the gradient NaN even where nothing uses it.
    scores, labels, present = (values.gather(1, order) for values in (scores.masked_fill(absent, 0.0), labels, ~absent))
    ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    discounts = torch.log2(1 + ranks)

    gains = (torch.exp2(labels) - 1) * present
    ideal = (gains.sort(dim=1, descending=True).values / discounts).sum(dim=1, keepdim=True)
    gains = gains / ideal.clamp(min=torch.finfo(gains.dtype).tiny)

    by_distance = functional.pad(1 / discounts - 1 / torch.log2(2 + ranks), (1, 0))  # of ranks 0, 1, 2, … apart
    positions = torch.arange(scores.shape[1], device=scores.device)
    weights = by_distance[(positions[:, None] - positions).abs()] * (gains[:, :, None] - gains[:, None, :]).abs()
    above = (labels[:, :, None] > labels[:, None, :]) & present[:, :, None] & present[:, None, :]
    costs = functional.softplus(scores[:, None, :] - scores[:, :, None]) / math.log(2)
    return torch.where(above, weights * costs, 0.0).sum(dim=(1, 2))
