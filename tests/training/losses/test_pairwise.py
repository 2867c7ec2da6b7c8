from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.losses import PAIRWISE

from .batches import ORACLE, expect, tensor

scores = st.lists(st.floats(-50, 50), min_size=1, max_size=8)


def test_margin_mse_and_its_gradient_are_the_oracle_s():
    oracle = ORACLE["margin_mse"]
    positives, negatives = tensor(oracle["s_pos"]).requires_grad_(), tensor(oracle["s_neg"]).requires_grad_()
    loss = PAIRWISE["margin-mse"](positives, negatives, tensor(oracle["t_pos"]) - tensor(oracle["t_neg"]))
    loss.backward()
    expect(loss.detach(), oracle["loss"])
    expect(positives.grad, oracle["grad_s_pos"])
    expect(negatives.grad, oracle["grad_s_neg"])


def test_ranknet_is_the_oracle_s_and_needs_no_teacher():
    oracle = ORACLE["ranknet"]
    loss = PAIRWISE["ranknet"](tensor(oracle["s_pos"]), tensor(oracle["s_neg"]), None)
    expect(loss, oracle["loss_mean"])


def test_ranknet_does_not_overflow_where_the_order_is_very_wrong():
    positives = torch.tensor([-500.0], requires_grad=True)
    loss = PAIRWISE["ranknet"](positives, torch.tensor([500.0]), None)
    loss.backward()
    assert loss.item() == 1000
    assert positives.grad.item() == -1


def test_margin_mse_without_margins_says_what_to_do():
    with pytest.raises(TasbError, match="ranknet"):
        PAIRWISE["margin-mse"](torch.zeros(2), torch.zeros(2), None)


@given(scores, st.floats(-1000, 1000))
def test_a_constant_added_to_a_query_s_scores_changes_nothing(values, constant):
    positives = tensor(values)
    negatives, margins = positives.flip(0) / 2, positives - 3
    for loss in map(PAIRWISE.__getitem__, PAIRWISE):
        before, after = loss(positives, negatives, margins), loss(positives + constant, negatives + constant, margins)
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", PAIRWISE)
def test_gradients_are_right(name):
    generator = torch.Generator().manual_seed(1)
    positives, negatives, margins = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    inputs = (positives.requires_grad_(), negatives.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda p, n: PAIRWISE[name](p, n, margins), inputs)
