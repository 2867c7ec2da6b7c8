from __future__ import annotations

import pytest
import torch

from pyserini_tasb.training.losses import dual_supervision

pytestmark = pytest.mark.bare


def test_in_batch_part_is_weighted_by_alpha():
    assert dual_supervision(torch.tensor(2.0), torch.tensor(4.0), 0.75).item() == 5


def test_absent_part_counts_as_zero():
    assert dual_supervision(torch.tensor(2.0), None, 0.75).item() == 2
    assert dual_supervision(None, torch.tensor(4.0), 0.75).item() == 3


def test_gradients_reach_both_parts():
    pairwise, in_batch = torch.tensor(2.0, requires_grad=True), torch.tensor(4.0, requires_grad=True)
    dual_supervision(pairwise, in_batch, 0.75).backward()
    assert (pairwise.grad.item(), in_batch.grad.item()) == (1, 0.75)


def test_both_absent_is_refused():
    with pytest.raises(ValueError, match="found neither"):
        dual_supervision(None, None, 0.75)
