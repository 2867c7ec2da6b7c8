from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training import margins
from pyserini_tasb.training.losses import IN_BATCH, KnownPositives
from pyserini_tasb.training.margins import BERT_CAT_MARGINS, MarginRescale, MarginStatistics, scale_warning

from .batches import random_known, random_scores, seeds, sizes

margin_lists = st.lists(st.floats(-100, 100), min_size=2, max_size=40)
COSINES = np.random.default_rng(1).normal(0.25, 0.12, 1_000).astype(np.float32)


def in_batch_margins(scores, known):
    """Own positive minus each other query's passage that is not known relevant, [pairs]."""
    margins = scores.detach().margins()
    blocks = zip((margins.positives, margins.negatives), known.other_passages(), strict=True)
    return torch.cat([block[others] for block, others in blocks]).double().numpy()


def test_statistics_are_numpy_s(monkeypatch):
    monkeypatch.setattr(margins, "CHUNK", 300)
    found = MarginStatistics.of(COSINES)
    assert found.count == 1_000
    assert found.mean == pytest.approx(COSINES.mean(dtype=np.float64), rel=1e-12)
    assert found.deviation == pytest.approx(COSINES.std(dtype=np.float64), rel=1e-12)


@given(margin_lists, st.integers(0, 40))
def test_statistics_of_parts_add_up(values, cut):
    whole, parts = np.array(values), (np.array(values[:cut]), np.array(values[cut:]))
    merged = MarginStatistics.of(parts[0]).merged(MarginStatistics.of(parts[1]))
    assert merged.count == len(values)
    assert merged.mean == pytest.approx(whole.mean(), abs=1e-9)
    assert merged.deviation == pytest.approx(whole.std(), abs=1e-6)


def test_no_margins_have_no_statistics_but_do_no_harm():
    nothing = MarginStatistics.of(np.array([], dtype=np.float32))
    assert nothing.count == 0
    assert MarginStatistics.of(COSINES).merged(nothing) == MarginStatistics.of(COSINES)


@given(st.floats(0.5, 50), st.floats(-20, 20))
def test_fitted_margins_have_the_wanted_mean_and_deviation(deviation, mean):
    rescale = MarginRescale.fit(MarginStatistics.of(COSINES), deviation=deviation, mean=mean)
    found = MarginStatistics.of(rescale.margins(COSINES.astype(np.float64)))
    assert found.mean == pytest.approx(mean, abs=1e-6)
    assert found.deviation == pytest.approx(deviation, rel=1e-6)


def test_by_default_the_deviation_becomes_bert_cat_s_and_equal_passages_stay_equal():
    rescale = MarginRescale.fit(MarginStatistics.of(COSINES))
    assert MarginStatistics.of(rescale.margins(COSINES)).deviation == pytest.approx(
        BERT_CAT_MARGINS.deviation, rel=1e-5
    )
    assert rescale.margins(np.zeros(1, dtype=np.float32)).item() == 0


def test_equal_margins_cannot_be_fitted():
    with pytest.raises(TasbError, match=r"3 margins, all of them 0\.5"):
        MarginRescale.fit(MarginStatistics.of(np.full(3, 0.5)))


@pytest.mark.parametrize(("scale", "shift"), [(0, 0), (-1, 0), (float("nan"), 0), (1, float("inf"))])
def test_a_scale_that_turns_the_order_round_is_refused(scale, shift):
    with pytest.raises(ValueError, match="above 0"):
        MarginRescale(scale, shift)


@given(sizes, seeds, st.floats(0.1, 100), st.floats(-10, 10))
def test_in_batch_scores_are_rescaled_so_that_their_margins_are(size, seed, scale, shift):
    teacher, rescale, known = random_scores(size, seed), MarginRescale(scale, shift), random_known(size, seed)
    before, after = in_batch_margins(teacher, known), in_batch_margins(rescale.scores(teacher), known)
    np.testing.assert_allclose(after, rescale.margins(before), rtol=0, atol=1e-9)
    own = rescale.scores(teacher).margins().negatives.diagonal()
    torch.testing.assert_close(own, rescale.margins(teacher.margins().negatives.diagonal()), rtol=0, atol=1e-9)


def test_unchanged_by_default():
    teacher = random_scores(3, 1)
    assert torch.equal(MarginRescale().scores(teacher).positives, teacher.positives)
    assert torch.equal(MarginRescale().margins(teacher.positives[0]), teacher.positives[0])


def test_in_batch_margins_are_those_that_the_loss_sees():
    student, teacher, known = random_scores(4, 1), random_scores(4, 2), random_known(4, 3)
    positives, negatives = known.other_passages()
    assert len(in_batch_margins(teacher, known)) == positives.sum() + negatives.sum()
    assert len(in_batch_margins(teacher, KnownPositives.none(4))) == 2 * 4 * 3
    blocks = np.split(
        (in_batch_margins(student, known) - in_batch_margins(teacher, known)) ** 2, [int(positives.sum())]
    )
    loss = IN_BATCH["margin-mse"](student, teacher, known).item()
    assert loss == pytest.approx((blocks[0].mean() + blocks[1].mean()) / 2)


KEY = "rescale"


def statistics(deviation, mean=0.0, count=100):
    return MarginStatistics(count, mean, deviation)


def test_the_paper_s_teachers_raise_no_warning():
    assert scale_warning({"pairwise": BERT_CAT_MARGINS, "in-batch": statistics(8.0, 20.0)}, KEY) is None


def test_cosines_raise_a_warning_that_says_what_to_do():
    warning = scale_warning({"in-batch": MarginStatistics.of(COSINES)}, KEY)
    assert "in-batch teacher's margins have a standard deviation of 0.118 " in warning
    assert "cosines" in warning
    assert warning.endswith("Rescale them with the key `rescale`.")


def test_margins_that_are_much_too_large_raise_a_warning():
    assert "large" in scale_warning({"pairwise": statistics(400.0)}, KEY)


@pytest.mark.parametrize(("other", "warned"), [(5.4 * 3.9, False), (5.4 * 4.1, True), (5.4 / 4.1, True)])
def test_teachers_that_are_far_apart_raise_a_warning(other, warned):
    warning = scale_warning({"pairwise": statistics(5.4), "in-batch": statistics(other)}, KEY)
    assert (warning is not None) == warned
    if warned:
        assert "cannot follow both" in warning


@pytest.mark.parametrize("deviation", [0.0, 1e-8])  # fp32 scores of one difference differ in their last bits
def test_margins_that_are_all_equal_are_said_to_be_and_not_to_be_rescaled(deviation):
    equal = statistics(deviation, mean=0.5)
    warning = scale_warning({"pairwise": equal, "in-batch": statistics(5.4)}, KEY)
    assert "The pairwise teacher's margins are all equal (mean 0.5)" in warning
    assert "Rescale them" not in warning
    with pytest.raises(TasbError, match="all of them"):
        MarginRescale.fit(equal)
    assert "Rescale them" in scale_warning({"pairwise": equal, "in-batch": MarginStatistics.of(COSINES)}, KEY)


def test_teachers_that_say_nothing_are_not_judged():
    assert scale_warning({}, KEY) is None
    assert scale_warning({"pairwise": statistics(0.0, count=1)}, KEY) is None
    assert "margins are all equal" in scale_warning({"pairwise": statistics(0.0)}, KEY)


def test_for_a_normalised_student_cosines_are_right_and_bert_cat_is_out_of_reach():
    assert scale_warning({"in-batch": MarginStatistics.of(COSINES)}, KEY, normalised_student=True) is None
    assert "out of reach" in scale_warning({"pairwise": BERT_CAT_MARGINS}, KEY, normalised_student=True)
