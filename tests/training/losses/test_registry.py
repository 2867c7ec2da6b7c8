from __future__ import annotations

import pytest
import torch

from pyserini_tasb.training.losses import IN_BATCH, PAIRWISE

pytestmark = pytest.mark.bare


def test_names_are_those_of_the_documentation():
    assert set(PAIRWISE) == {"margin-mse", "ranknet", "kldiv", "lambda-mrr"}
    assert "margin-mse" in IN_BATCH


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_column_instead_of_a_vector_is_refused(name):
    # It would broadcast to a matrix and train on nonsense.
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        PAIRWISE[name](torch.zeros(3, 1), torch.zeros(3), torch.zeros(3))


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_scores_give_an_fp32_loss_also_under_autocast(name, precision):
    generator = torch.Generator().manual_seed(1)
    positives, negatives = (100 + torch.randn(2, 7, generator=generator)).to(precision)
    margins = torch.randn(7, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = PAIRWISE[name](positives, negatives, margins)
    assert loss.dtype == torch.float32
    exact = PAIRWISE[name](positives.double(), negatives.double(), margins.double())
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)


def test_teacher_gets_no_gradient():
    positives, margins = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    PAIRWISE["margin-mse"](positives, torch.zeros(2), margins).backward()
    assert positives.grad is not None
    assert margins.grad is None


def test_one_decorator_adds_a_loss():
    @PAIRWISE.register("hinge")
    def hinge(positives, negatives, _margins=None):
        return (1 - positives + negatives).clamp(min=0).mean()

    try:
        assert PAIRWISE["hinge"](torch.tensor([0.5], dtype=torch.float16), torch.tensor([0.0]), None) == 0.5
    finally:
        PAIRWISE.remove("hinge")
