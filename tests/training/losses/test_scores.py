from __future__ import annotations

import pytest
import torch

from pyserini_tasb.training.losses import InBatchScores, KnownPositives

pytestmark = pytest.mark.bare


def test_margins_are_below_the_own_positive():
    scores = InBatchScores(torch.tensor([[5.0, 3.0], [1.0, 4.0]]), torch.tensor([[2.0, 6.0], [0.0, 1.0]]))
    margins = scores.margins()
    assert margins.positives.tolist() == [[0, 2], [3, 0]]
    assert margins.negatives.tolist() == [[3, -1], [4, 3]]
    assert scores.lists().tolist() == [[5, 3, 2, 6], [1, 4, 0, 1]]


@pytest.mark.parametrize("shape", [(2, 3), (4,), ()])
def test_scores_and_masks_that_are_no_squares_are_refused(shape):
    for kind, square in ((InBatchScores, torch.zeros(2, 2)), (KnownPositives, torch.zeros(2, 2, dtype=torch.bool))):
        wrong = torch.zeros(shape, dtype=square.dtype)
        with pytest.raises(ValueError, match=r"\[b, b\]"):
            kind(wrong, square)
        with pytest.raises(ValueError, match=r"\[b, b\]"):
            kind(square, wrong)


def test_masks_of_numbers_are_refused():
    with pytest.raises(ValueError, match="bool"):
        KnownPositives(torch.zeros(2, 2, dtype=torch.bool), torch.zeros(2, 2))
