from __future__ import annotations

import pytest
import torch
from hypothesis import given

from pyserini_tasb.training.losses import IN_BATCH, InBatchScores, KnownPositives, dual_supervision, margin_mse

from .batches import ORACLE, all_known, expect, random_known, random_scores, seeds, sizes, tensor, with_gradients

FORMS = ("margin-mse", "margin-mse-eq7", "margin-mse-released")
oracle = ORACLE["in_batch"]
NOTHING_KNOWN = KnownPositives.none(3)


def student():
    return InBatchScores(tensor(oracle["S_pos"]), tensor(oracle["S_neg"]))


def teacher():
    return InBatchScores(tensor(oracle["T_pos"]), tensor(oracle["T_neg"]))


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("margin-mse", "loss_matchmaker_mean_offdiag"),
        ("margin-mse-released", "loss_matchmaker_mean_offdiag"),
        ("margin-mse-eq7", "loss_eq7_literal_sum_over_2Q"),
    ],
)
def test_values_are_the_oracle_s(form, value):
    expect(IN_BATCH[form](student(), teacher(), NOTHING_KNOWN), oracle[value])


def test_gradients_are_the_oracle_s():
    scores = with_gradients(student())
    IN_BATCH["margin-mse"](scores, teacher(), NOTHING_KNOWN).backward()
    expect(scores.positives.grad, oracle["grad_S_pos_matchmaker"], atol=5e-8)  # printed with 7 digits
    expect(scores.negatives.grad, oracle["grad_S_neg_matchmaker"], atol=5e-8)


def test_known_positives_leave_the_mean_but_not_the_literal_and_the_released_form():
    positives = torch.zeros(3, 3, dtype=torch.bool)
    negatives = torch.zeros(3, 3, dtype=torch.bool)
    positives[2, 0] = negatives[1, 2] = negatives[0, 0] = True  # the last is an own negative, not in the mean anyway
    known = KnownPositives(positives, negatives)
    squares = oracle["sq_err_pos"], oracle["sq_err_neg"]
    left = [
        [squares[0][i][j] for i in range(3) for j in range(3) if i != j and (i, j) != (2, 0)],
        [squares[1][i][j] for i in range(3) for j in range(3) if i != j and (i, j) != (1, 2)],
    ]
    expect(IN_BATCH["margin-mse"](student(), teacher(), known), sum(sum(block) / len(block) for block in left) / 2)
    for form in ("margin-mse-eq7", "margin-mse-released"):
        assert IN_BATCH[form](student(), teacher(), known) == IN_BATCH[form](student(), teacher(), NOTHING_KNOWN)


@given(seeds)
def test_a_batch_of_one_has_no_other_passages(seed):
    scores, target = with_gradients(random_scores(1, seed)), random_scores(1, seed + 1)
    for form in ("margin-mse", "margin-mse-released"):
        loss = IN_BATCH[form](scores, target, KnownPositives.none(1))
        assert loss.item() == 0
        loss.backward()
        assert not scores.positives.grad.any()
    # Eq. 7 has the own negative in it.
    pair = margin_mse(scores.positives[0], scores.negatives[0], target.positives[0] - target.negatives[0])
    torch.testing.assert_close(IN_BATCH["margin-mse-eq7"](scores, target, KnownPositives.none(1)), pair / 2)


@given(sizes, seeds)
def test_a_student_with_the_teacher_s_margins_has_no_loss(size, seed):
    scores = random_scores(size, seed)
    constants = torch.arange(size, dtype=torch.float64).unsqueeze(1)
    moved = InBatchScores(scores.positives + constants, scores.negatives + constants)
    for form in FORMS:
        assert IN_BATCH[form](moved, scores, random_known(size, seed)).item() < 1e-20


@given(sizes, seeds)
def test_where_everything_is_known_there_is_nothing_to_learn(size, seed):
    scores = with_gradients(random_scores(size, seed))
    loss = IN_BATCH["margin-mse"](scores, random_scores(size, seed + 1), all_known(size))
    loss.backward()
    assert loss.item() == 0
    assert not scores.positives.grad.any()


def test_dual_supervision_is_the_oracle_s():
    eq8 = oracle["eq8"]
    pairwise = margin_mse(
        student().positives.diagonal(),
        student().negatives.diagonal(),
        tensor(eq8["t_pos_static"]) - tensor(eq8["t_neg_static"]),
    )
    expect(pairwise, eq8["loss_pair"])
    for form, total in (("margin-mse", "loss_total_matchmaker"), ("margin-mse-eq7", "loss_total_literal")):
        in_batch = IN_BATCH[form](student(), teacher(), NOTHING_KNOWN)
        expect(dual_supervision(pairwise, in_batch, eq8["alpha"]), eq8[total])
