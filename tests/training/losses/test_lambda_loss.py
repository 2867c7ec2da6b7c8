from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

from pyserini_tasb.training import losses as lambda_loss
from pyserini_tasb.training.losses import IN_BATCH, KnownPositives, ndcg_loss2

from .batches import (
    ORACLE,
    all_known,
    expect,
    random_known,
    random_scores,
    scores_of,
    seeds,
    sizes,
    tensor,
    with_gradients,
)
from .largest_tensor import LargestTensor

oracle = ORACLE["lambdarank"]
variant = oracle["matchmaker_teacher_variant"]
lambdarank = IN_BATCH["lambdarank"]


def nothing_absent(lists):
    return torch.zeros(len(lists), len(lists[0]), dtype=torch.bool)


def test_loss_is_the_oracle_s():
    scores, labels = [oracle["scores"]], [oracle["labels"]]
    expect(ndcg_loss2(tensor(scores), tensor(labels), nothing_absent(scores)), [oracle["loss_sum"]])


def test_label_and_score_of_what_is_absent_do_not_matter():
    scores, labels = tensor([[*oracle["scores"], 1.5]]), tensor([[*oracle["labels"], 4.0]])
    absent = torch.tensor([[False] * 4 + [True]])
    expect(ndcg_loss2(scores, labels, absent), [oracle["loss_sum"]])


@pytest.mark.parametrize("case", [variant, variant["tie_free"]], ids=["with ties", "without"])
def test_variant_with_a_teacher_is_the_oracle_s(case):
    # Checked by running the released code, which has its discounts in fp32: they agree to 5e-8.
    labels = tensor(variant["labels_after_transform"])
    per_query = ndcg_loss2(tensor(case["student_lists"]), labels, nothing_absent(labels))
    expect(per_query, case["per_query"])
    teacher = scores_of(ORACLE["list_wise"]["teacher_lists"])
    mean = lambdarank(scores_of(case["student_lists"]), teacher, KnownPositives.none(3))
    expect(mean * 3, case["loss_sum_over_batch"])  # the released code sums over queries


def by_the_book(scores, labels):
    """One list's loss, pair by pair."""
    by_score = sorted(range(len(scores)), key=lambda item: -scores[item])
    rank = {item: position for position, item in enumerate(by_score, 1)}
    discount = lambda r: math.log2(1 + r)  # noqa: E731
    gain = [2**label - 1 for label in labels]
    ideal = sum(g / discount(r) for r, g in enumerate(sorted(gain, reverse=True), 1))
    total = 0.0
    for high in range(len(scores)):
        for low in range(len(scores)):
            if labels[high] > labels[low]:
                apart = abs(rank[high] - rank[low])
                delta = abs(1 / discount(apart) - 1 / discount(apart + 1))
                weight = delta * abs(gain[high] - gain[low]) / ideal
                total -= weight * math.log2(1 / (1 + math.exp(scores[low] - scores[high])))
    return total


@given(sizes, seeds)
def test_each_pair_is_weighted_by_the_book_and_masked_passages_leave_the_list(size, seed):
    student, teacher, known = random_scores(size, seed), random_scores(size, seed + 1), random_known(size, seed)
    losses = []
    for query in range(size):
        kept = ~known.lists()[query]
        labels = [p + 2 if p > 0.001 else p for p in teacher.lists()[query][kept].softmax(0).tolist()]
        losses.append(by_the_book(student.lists()[query][kept].tolist(), labels))
    expect(lambdarank(student, teacher, known), sum(losses) / size)


@given(sizes, seeds)
def test_a_list_of_the_own_positive_alone_teaches_nothing(size, seed):
    student = with_gradients(random_scores(size, seed))
    loss = lambdarank(student, random_scores(size, seed + 1), all_known(size))
    loss.backward()
    assert loss.item() == 0
    assert not student.positives.grad.any()


def test_labels_of_zero_give_no_loss():
    scores = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    loss = ndcg_loss2(scores, torch.zeros(1, 3), nothing_absent([[0] * 3]))
    loss.sum().backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_equal_scores_are_ranked_in_the_list_s_order():
    labels, absent = torch.tensor([[3.0, 0.0, 1.0]]), nothing_absent([[0] * 3])
    tied = ndcg_loss2(torch.tensor([[1.0, 1.0, 1.0]]), labels, absent)
    nearly = ndcg_loss2(torch.tensor([[1.0, 1 - 1e-6, 1 - 2e-6]]), labels, absent)
    torch.testing.assert_close(tied, nearly, rtol=1e-5, atol=0)


def test_a_pair_that_is_very_wrong_still_has_a_gradient():
    scores = torch.tensor([[-40.0, 40.0]], requires_grad=True)
    ndcg_loss2(scores, torch.tensor([[1.0, 0.0]]), nothing_absent([[0] * 2])).sum().backward()
    assert scores.grad[0, 0] < -0.1


def test_large_batches_are_computed_in_chunks_with_the_same_loss_and_gradient(monkeypatch):
    teacher, known = random_scores(8, 1), random_known(8, 2)
    values = {}
    for most in (2**24, 3 * 16 * 16):
        monkeypatch.setattr(lambda_loss, "PAIRS_AT_ONCE", most)
        student = with_gradients(random_scores(8, 3))
        with LargestTensor() as largest:
            loss = lambdarank(student, teacher, known)
            loss.backward()
        values[most] = loss.item(), student.positives.grad, largest.elements
    (whole, whole_gradient, whole_largest), (chunked, chunked_gradient, chunked_largest) = values.values()
    assert chunked == pytest.approx(whole, rel=1e-12)
    torch.testing.assert_close(chunked_gradient, whole_gradient)
    assert (whole_largest, chunked_largest) == (8 * 16 * 16, 3 * 16 * 16)
