"""A loss at several lengths of the vectors: by hand, and beside sentence-transformers."""

from __future__ import annotations

import pytest
import torch

from pyserini_tasb.training.losses import PAIRWISE, matryoshka

from .batches import expect, tensor

WEIGHTS = {8: 1.0, 4: 0.5, 2: 2.0}


def pair_scores(queries, positives, negatives):
    return (queries * positives).sum(dim=1), (queries * negatives).sum(dim=1)


def test_by_hand():
    """Products of the whole vectors are 11, of the first numbers 3."""
    queries, passages = tensor([[1, 2]]), tensor([[3, 4]])
    weighted = matryoshka(lambda *cut: (cut[0] * cut[1]).sum(), [queries, passages], {2: 1.0, 1: 10.0}, normalise=False)
    expect(weighted, 11 + 30)
    # Cosines: 11 / (√5 · 5), and 1.
    weighted = matryoshka(lambda *cut: (cut[0] * cut[1]).sum(), [queries, passages], {2: 1.0, 1: 10.0}, normalise=True)
    expect(weighted, 11 / (5**0.5 * 5) + 10)


class Vectors(torch.nn.Module):
    """A model whose texts are vectors."""

    def forward(self, features):
        return {"sentence_embedding": features["vectors"]}

    def get_embedding_dimension(self):
        return 8


@pytest.mark.parametrize("weights", [WEIGHTS, dict.fromkeys(WEIGHTS, 1.0)])
def test_as_sentence_transformers(weights):
    """It always divides prefixes by their length, as a student does that is trained with `normalise`."""
    from sentence_transformers.sentence_transformer.losses import MarginMSELoss, MatryoshkaLoss

    model, generator = Vectors(), torch.Generator().manual_seed(2)
    columns, margins = list(torch.randn(3, 5, 8, generator=generator)), torch.randn(5, generator=generator)
    theirs = MatryoshkaLoss(model, MarginMSELoss(model), list(weights), list(weights.values()))
    expected = theirs([{"vectors": column} for column in columns], margins)
    ours = matryoshka(
        lambda *cut: PAIRWISE["margin-mse"](*pair_scores(*cut), margins), columns, weights, normalise=True
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_gradients_reach_the_first_numbers_most_often():
    queries = torch.ones(2, 8, requires_grad=True)
    matryoshka(lambda cut: cut.sum(), [queries], WEIGHTS, normalise=False).backward()
    assert queries.grad[0].tolist() == [3.5, 3.5, 1.5, 1.5, 1, 1, 1, 1]
