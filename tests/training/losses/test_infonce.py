"""InfoNCE: by hand, as sentence-transformers has it, and its temperature."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.losses import IN_BATCH, InBatchScores, KnownPositives

from .batches import all_known, expect, random_scores, scores_of, seeds, sizes

infonce = IN_BATCH["infonce"]


def test_by_hand():
    """Two queries: e^1 of e^1 + e^0 + e^0 + e^0, and e^2 of e^2 + e^1 + e^0 + e^0."""
    student = scores_of([[1, 0, 0, 0], [1, 2, 0, 0]])
    first = math.e / (math.e + 3)
    second = math.e**2 / (math.e**2 + math.e + 2)
    expect(infonce(student, None, KnownPositives.none(2)), -(math.log(first) + math.log(second)) / 2)


def test_a_temperature_divides_the_scores():
    student, known = random_scores(4, 1), KnownPositives.none(4)
    cold = infonce(student, None, known, temperature=0.5)
    torch.testing.assert_close(cold, infonce(scores_of((2 * student.lists()).tolist()), None, known))


def test_a_known_positive_leaves_the_list():
    student = scores_of([[1, 9, 0, 0], [1, 2, 0, 0]])
    known = KnownPositives(torch.tensor([[False, True], [False, False]]), torch.zeros(2, 2, dtype=torch.bool))
    first = math.e / (math.e + 2)
    second = math.e**2 / (math.e**2 + math.e + 2)
    expect(infonce(student, None, known), -(math.log(first) + math.log(second)) / 2)


@given(sizes, seeds)
def test_an_own_positive_alone_costs_nothing(size, seed):
    assert infonce(random_scores(size, seed), None, all_known(size)).item() == 0


@pytest.mark.parametrize("normalise", [False, True])
def test_as_sentence_transformers(normalise):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import cos_sim, dot_score

    vectors = list(torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(3)))
    theirs = MultipleNegativesRankingLoss(
        torch.nn.Identity(), scale=20.0 if normalise else 1.0, similarity_fct=cos_sim if normalise else dot_score
    )
    own = [torch.nn.functional.normalize(side, dim=1) if normalise else side for side in vectors]
    ours = infonce(
        InBatchScores.of_vectors(*own), None, KnownPositives.none(5), temperature=0.05 if normalise else None
    )
    torch.testing.assert_close(ours, theirs.compute_loss_from_embeddings(vectors, None), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in IN_BATCH if name != "infonce"])
def test_other_losses_need_a_teacher(name):
    assert IN_BATCH[name].needs_teacher
    with pytest.raises(TasbError, match=f"a teacher's scores of the batch for the loss `{name}`"):
        IN_BATCH[name](random_scores(3, 1), None, KnownPositives.none(3))


def test_a_loss_from_outside_needs_no_teacher_if_it_takes_none():
    @IN_BATCH.register("pull")
    def pull(student, known):
        return -student.positives.diagonal().mean()

    try:
        assert not IN_BATCH["pull"].needs_teacher
        assert not IN_BATCH["pull"].takes_temperature
        assert IN_BATCH["pull"](scores_of([[1, 0, 0, 0], [1, 2, 0, 0]]), None, KnownPositives.none(2)) == -1.5
    finally:
        IN_BATCH.remove("pull")
