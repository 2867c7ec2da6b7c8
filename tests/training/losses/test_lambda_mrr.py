"""LambdaRank for the reciprocal rank, of CL-DRD: by hand, and what its ranks are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.training.losses import PAIRWISE

from .batches import expect, seeds, tensor

lambda_mrr = PAIRWISE["lambda-mrr"]
# The student ranks the positive second; the teacher's order is the list's.
POSITIVES, NEGATIVES, MARGINS = tensor([[0, 0]]), tensor([[1, -1]]), tensor([[1, 2]])


def cost(weight, difference):
    return weight * math.log(1 + math.exp(-difference))


def test_by_hand():
    first = cost(1 / 2, 0 - 1) + cost(1 / 2 - 1 / 3, 0 + 1)  # the positive above each negative
    expect(lambda_mrr(POSITIVES, NEGATIVES, MARGINS), first + cost(1 - 1 / 3, 1 + 1))
    expect(lambda_mrr(POSITIVES, NEGATIVES, MARGINS, ranks=2), first + cost(1 - 1 / 3, 1 + 1))
    expect(lambda_mrr(POSITIVES, NEGATIVES, MARGINS, ranks=1), first)


def test_equal_scores_of_the_teacher_are_no_pair():
    expect(lambda_mrr(POSITIVES, NEGATIVES, tensor([[1, 1]])), cost(1 / 2, 0 - 1) + cost(1 / 2 - 1 / 3, 0 + 1))
    assert lambda_mrr(POSITIVES, NEGATIVES, tensor([[0, 0]])).item() == 0


def random_lists(seed, negatives=5):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 3, 1 + negatives, generator=generator, dtype=torch.float64)
    return student[:, :1].expand(-1, negatives), student[:, 1:], teacher[:, :1] - teacher[:, 1:]


@given(seeds, st.floats(0.1, 100), st.floats(-100, 100))
def test_only_the_teachers_ranks_matter(seed, scale, constant):
    positives, negatives, margins = random_lists(seed)
    expected = lambda_mrr(positives, negatives, margins)
    torch.testing.assert_close(lambda_mrr(positives, negatives, scale * margins), expected)
    torch.testing.assert_close(lambda_mrr(positives + constant, negatives + constant, margins), expected)


@given(seeds)
def test_more_ranks_are_more_pairs(seed):
    lists = random_lists(seed)
    losses = [lambda_mrr(*lists, ranks=ranks).item() for ranks in range(1, 7)]
    assert losses == sorted(losses)
    assert lambda_mrr(*lists).item() == losses[-1]


@pytest.mark.parametrize("name", [name for name in PAIRWISE if name != "lambda-mrr"])
def test_other_losses_have_no_curriculum(name):
    assert not PAIRWISE[name].takes_ranks


@pytest.mark.parametrize("name", PAIRWISE)
def test_gradients_are_right(name):
    positives, negatives, margins = random_lists(1)
    leaves = [scores.clone().requires_grad_() for scores in (positives, negatives)]
    assert torch.autograd.gradcheck(lambda *scores: PAIRWISE[name](*scores, margins), leaves)
