from __future__ import annotations

import pytest
import torch
from hypothesis import given

from pyserini_tasb.training.losses import IN_BATCH, KnownPositives

from .batches import ORACLE, all_known, expect, random_known, random_scores, scores_of, seeds, sizes, with_gradients

oracle = ORACLE["list_wise"]
kldiv, listnet = IN_BATCH["kldiv"], IN_BATCH["listnet"]
NOTHING_KNOWN = KnownPositives.none(3)


def test_values_are_the_oracle_s():
    student, teacher = scores_of(oracle["student_lists"]), scores_of(oracle["teacher_lists"])
    expect(kldiv(student, teacher, NOTHING_KNOWN), oracle["kl_batchmean"])
    expect(listnet(student, teacher, NOTHING_KNOWN), oracle["listnet_mean"])


@pytest.mark.parametrize("loss", [kldiv, listnet])
def test_gradients_are_the_oracle_s(loss):
    student, teacher = with_gradients(scores_of(oracle["student_lists"])), scores_of(oracle["teacher_lists"])
    loss(student, teacher, NOTHING_KNOWN).backward()
    expect(torch.cat([student.positives.grad, student.negatives.grad], dim=1), oracle["grad_listnet_mean_wrt_student"])


@given(sizes, seeds)
def test_divergence_is_cross_entropy_less_the_teacher_s_entropy(size, seed):
    student, teacher, known = random_scores(size, seed), random_scores(size, seed + 1), random_known(size, seed)
    entropy = listnet(teacher, teacher, known)
    divergence = kldiv(student, teacher, known)
    torch.testing.assert_close(divergence + entropy, listnet(student, teacher, known), rtol=0, atol=1e-12)
    assert divergence > -1e-12
    assert abs(kldiv(teacher, teacher, known)) < 1e-12


@given(sizes, seeds)
def test_masked_passages_leave_the_list(size, seed):
    student, teacher, known = random_scores(size, seed), random_scores(size, seed + 1), random_known(size, seed)
    divergences = []
    for query in range(size):
        kept = ~known.lists()[query]
        ours, theirs = student.lists()[query][kept].log_softmax(0), teacher.lists()[query][kept].log_softmax(0)
        divergences.append((theirs.exp() * (theirs - ours)).sum())
    torch.testing.assert_close(kldiv(student, teacher, known), torch.stack(divergences).mean(), rtol=0, atol=1e-12)


@given(sizes, seeds)
def test_a_list_of_the_own_positive_alone_teaches_nothing(size, seed):
    student = with_gradients(random_scores(size, seed))
    for loss in (kldiv, listnet):
        value = loss(student, random_scores(size, seed + 1), all_known(size))
        value.backward()
        assert value.item() == 0
    assert not student.positives.grad.any()


def test_teacher_that_is_sure_gives_no_nan():
    student, teacher = with_gradients(random_scores(4, 1)), random_scores(4, 2, scale=1e4)
    for loss in (kldiv, listnet):
        value = loss(student, teacher, random_known(4, 3))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(student.positives.grad).all()
