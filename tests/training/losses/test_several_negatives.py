"""Losses with several negatives of each query: by hand, and as sentence-transformers has them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

from pyserini_tasb.training.losses import IN_BATCH, PAIRWISE, InBatchScores, KnownPositives

from .batches import expect, random_known, random_scores, seeds, sizes, tensor

NEGATIVES = 3
with_lists = pytest.mark.parametrize("name", ["kldiv", "listnet", "infonce", "lambdarank"])


def test_margin_mse_by_hand():
    """Student's margins 1, 4 and 2, 0; the teacher's 2, 4 and 5, 1: squares 1, 0, 9, 1."""
    positives, negatives = tensor([[5, 5], [3, 3]]), tensor([[4, 1], [1, 3]])
    expect(PAIRWISE["margin-mse"](positives, negatives, tensor([[2, 4], [5, 1]])), 11 / 4)


def test_kldiv_by_hand():
    """Margins of ln 2 and ln 4 are shares of 4, 2 and 1 in 7; the teacher's of 0 and ln 2 are 2, 2 and 1 in 5."""
    positives, negatives = tensor([[0, 0]]), tensor([[-math.log(2), -math.log(4)]])
    teacher, student = (2 / 5, 2 / 5, 1 / 5), (4 / 7, 2 / 7, 1 / 7)
    divergence = sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True))
    expect(PAIRWISE["kldiv"](positives, negatives, tensor([[0, math.log(2)]])), divergence)


def test_kldiv_of_one_negative_is_ranknet_where_the_teacher_is_sure():
    positives, negatives = tensor([1, 0, 2]), tensor([0, 1, -1])
    sure = torch.full((3,), 1e3, dtype=torch.float64)
    torch.testing.assert_close(PAIRWISE["kldiv"](positives, negatives, sure), PAIRWISE["ranknet"](positives, negatives))


@pytest.fixture(scope="module")
def vectors():
    """Queries, positives and three columns of negatives, [6, 8] each; and the teacher's raw scores [6, 4]."""
    generator = torch.Generator().manual_seed(5)
    return list(torch.randn(2 + NEGATIVES, 6, 8, generator=generator)), 3 * torch.randn(6, 4, generator=generator)


@pytest.mark.parametrize("name", ["margin-mse", "kldiv"])
def test_as_sentence_transformers(name, vectors):
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss

    columns, scores = vectors
    theirs = {"margin-mse": MarginMSELoss, "kldiv": DistillKLDivLoss}[name](torch.nn.Identity())
    queries, positives, *negatives = columns
    of_negatives = torch.stack([(queries * column).sum(dim=1) for column in negatives], dim=1)
    of_positives = (queries * positives).sum(dim=1, keepdim=True).expand_as(of_negatives)
    ours = PAIRWISE[name](of_positives, of_negatives, scores[:, :1] - scores[:, 1:])
    torch.testing.assert_close(ours, theirs.compute_loss_from_embeddings(columns, scores), rtol=1e-5, atol=1e-5)


def test_infonce_as_sentence_transformers(vectors):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import dot_score

    columns, _ = vectors
    theirs = MultipleNegativesRankingLoss(torch.nn.Identity(), scale=2.0, similarity_fct=dot_score)
    queries, positives, *negatives = columns
    scores = InBatchScores.of_vectors(queries, positives, torch.stack(negatives, dim=1).flatten(0, 1))
    known = KnownPositives.none(6, negatives=NEGATIVES)
    ours = IN_BATCH["infonce"](scores, None, known, temperature=0.5)
    torch.testing.assert_close(ours, theirs.compute_loss_from_embeddings(columns, None), rtol=1e-5, atol=1e-5)


def several(scores, seed):
    """The scores, with two more negatives of each query."""
    size = scores.size
    more = random_scores(size * NEGATIVES, seed).negatives[:size]
    return InBatchScores(scores.positives, more)


def several_known(size, seed):
    return KnownPositives(random_known(size, seed).positives, random_known(size * NEGATIVES, seed).negatives[:size])


@given(sizes, seeds)
def test_the_mean_over_others_leaves_out_all_own_negatives(size, seed):
    student, teacher = (several(random_scores(size, seed + each), seed + each) for each in (0, 1))
    known = several_known(size, seed)
    ours, theirs = student.margins(), teacher.margins()
    sums = []
    for block in ("positives", "negatives"):
        errors = [
            (getattr(ours, block)[i, j] - getattr(theirs, block)[i, j]) ** 2
            for i in range(size)
            for j in range(getattr(ours, block).shape[1])
            if j // (getattr(ours, block).shape[1] // size) != i and not getattr(known, block)[i, j]
        ]
        sums.append(sum(errors) / max(len(errors), 1))
    expected = torch.as_tensor(sum(sums) / 2, dtype=torch.float64)
    torch.testing.assert_close(IN_BATCH["margin-mse"](student, teacher, known), expected)


@with_lists
def test_lists_do_not_depend_on_the_order_of_the_negatives(name):
    student, teacher, known = several(random_scores(3, 1), 1), several(random_scores(3, 2), 2), several_known(3, 3)
    order = torch.randperm(3 * NEGATIVES, generator=torch.Generator().manual_seed(4))
    shuffled = IN_BATCH[name](
        InBatchScores(student.positives, student.negatives[:, order]),
        InBatchScores(teacher.positives, teacher.negatives[:, order]),
        KnownPositives(known.positives, known.negatives[:, order]),
    )
    torch.testing.assert_close(shuffled, IN_BATCH[name](student, teacher, known))


@pytest.mark.parametrize("name", IN_BATCH)
def test_gradients_are_right(name):
    student, teacher, known = several(random_scores(3, 1), 1), several(random_scores(3, 2), 2), several_known(3, 3)

    def loss(positives, negatives):
        return IN_BATCH[name](InBatchScores(positives, negatives), teacher, known)

    leaves = [block.clone().requires_grad_() for block in (student.positives, student.negatives)]
    assert torch.autograd.gradcheck(loss, leaves)


def test_another_number_of_negatives_is_refused():
    student, teacher = several(random_scores(3, 1), 1), random_scores(3, 2)
    with pytest.raises(ValueError, match=r"negatives \[\(3, 9\), \(3, 3\), \(3, 9\)\]"):
        IN_BATCH["kldiv"](student, teacher, several_known(3, 3))
