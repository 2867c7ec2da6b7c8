"""What holds for every in-batch loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.training.losses import IN_BATCH, InBatchScores, KnownPositives

from .batches import random_known, random_scores, seeds, sizes, with_gradients

every_loss = pytest.mark.parametrize("name", IN_BATCH)
every_loss_with_masks = pytest.mark.parametrize(
    "name", [name for name in IN_BATCH if name not in {"margin-mse-eq7", "margin-mse-released"}]
)


def test_names_are_those_of_the_documentation():
    assert set(IN_BATCH) == {
        "margin-mse",
        "margin-mse-eq7",
        "margin-mse-released",
        "kldiv",
        "listnet",
        "infonce",
        "lambdarank",
    }


@every_loss
def test_gradients_are_right(name):
    student, teacher, known = with_gradients(random_scores(4, 1)), random_scores(4, 2), random_known(4, 3)

    def loss(positives, negatives):
        return IN_BATCH[name](InBatchScores(positives, negatives), teacher, known)

    assert torch.autograd.gradcheck(loss, (student.positives, student.negatives))


@every_loss
def test_teacher_gets_no_gradient(name):
    student, teacher = with_gradients(random_scores(3, 1)), with_gradients(random_scores(3, 2))
    IN_BATCH[name](student, teacher, random_known(3, 3)).backward()
    assert student.positives.grad is not None
    assert teacher.positives.grad is None
    assert teacher.negatives.grad is None


@every_loss
@given(sizes, seeds, st.floats(-100, 100))
def test_a_constant_added_to_a_query_s_scores_changes_nothing(name, size, seed, constant):
    student, teacher, known = random_scores(size, seed), random_scores(size, seed + 1), random_known(size, seed)
    constants = torch.linspace(0, constant, size, dtype=torch.float64).unsqueeze(1)
    before = IN_BATCH[name](student, teacher, known)
    for ours, theirs in ((constants, 0), (0, constants)):
        after = IN_BATCH[name](
            InBatchScores(student.positives + ours, student.negatives + ours),
            InBatchScores(teacher.positives + theirs, teacher.negatives + theirs),
            known,
        )
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


@every_loss
@given(st.data(), sizes, seeds)
def test_the_batch_s_order_does_not_matter(name, data, size, seed):
    order = torch.tensor(data.draw(st.permutations(range(size))))

    def ordered(matrix):
        return matrix[order][:, order]

    student, teacher, known = random_scores(size, seed), random_scores(size, seed + 1), random_known(size, seed)
    after = IN_BATCH[name](
        InBatchScores(ordered(student.positives), ordered(student.negatives)),
        InBatchScores(ordered(teacher.positives), ordered(teacher.negatives)),
        KnownPositives(ordered(known.positives), ordered(known.negatives)),
    )
    torch.testing.assert_close(after, IN_BATCH[name](student, teacher, known), rtol=1e-12, atol=1e-12)


@every_loss_with_masks
@pytest.mark.parametrize("masked_score", [1e30, float("inf"), float("nan")])
@given(seed=seeds)
def test_what_is_masked_has_no_part_in_loss_and_gradient(name, masked_score, seed):
    student, teacher, known = random_scores(4, seed), random_scores(4, seed + 1), random_known(4, seed)
    changed = with_gradients(
        InBatchScores(
            student.positives.masked_fill(known.positives, masked_score),
            student.negatives.masked_fill(known.negatives, masked_score),
        )
    )
    plain = with_gradients(student)
    losses = [IN_BATCH[name](scores, teacher, known) for scores in (plain, changed)]
    for loss in losses:
        loss.backward()
    assert losses[0] == losses[1]
    assert torch.equal(plain.positives.grad, changed.positives.grad)
    assert torch.equal(plain.negatives.grad, changed.negatives.grad)
    assert not plain.positives.grad[known.positives].any()
    assert not plain.negatives.grad[known.negatives].any()


@every_loss
def test_the_own_positive_is_never_masked(name):
    student, teacher, known = random_scores(3, 1), random_scores(3, 2), random_known(3, 3)
    careless = KnownPositives(known.positives | torch.eye(3, dtype=torch.bool), known.negatives)
    assert IN_BATCH[name](student, teacher, careless) == IN_BATCH[name](student, teacher, known)


@every_loss
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_scores_give_an_fp32_loss_also_under_autocast(name, precision):
    student, teacher, known = random_scores(5, 1), random_scores(5, 2), random_known(5, 3)
    student, teacher = student.to(precision), teacher.to(precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = IN_BATCH[name](student, teacher, known)
    assert loss.dtype == torch.float32
    exact = IN_BATCH[name](student.to(torch.float64), teacher.to(torch.float64), known)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(loss.double(), exact, rtol=2e-5, atol=2e-5)


@every_loss
def test_batches_that_do_not_fit_together_are_refused(name):
    with pytest.raises(ValueError, match=r"one batch size .* found \[3, 2, 3\]"):
        IN_BATCH[name](random_scores(3, 1), random_scores(2, 1), KnownPositives.none(3))
