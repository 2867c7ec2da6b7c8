"""Drawing negatives: how many, which, and with what randomness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.data.negatives import SAMPLING, STRATA, query_randomness

SCORES = st.lists(st.floats(-100, 100, width=32), max_size=60)


@pytest.mark.parametrize("sampling", SAMPLING)
@given(scores=SCORES, count=st.integers(1, 70), seed=st.integers(0, 5))
def test_draws_are_distinct_in_ranking_order_and_repeatable(sampling, scores, count, seed):
    scores = np.array(scores, dtype=np.float32)
    drawn = SAMPLING[sampling](scores, count, query_randomness(seed, "q"))
    assert len(drawn) == min(count, len(scores))
    assert np.all(np.diff(drawn) > 0)
    assert np.all((drawn >= 0) & (drawn < len(scores)))
    assert np.array_equal(drawn, SAMPLING[sampling](scores, count, query_randomness(seed, "q")))


@given(scores=SCORES.filter(lambda scores: len(scores) > 0), count=st.integers(1, 70))
def test_strata_give_equally_as_far_as_they_go(scores, count):
    scores = np.array(scores, dtype=np.float32)
    drawn = SAMPLING["stratified"](scores, count, query_randomness(0, "q"))
    best, worst = float(scores.max()), float(scores.min())
    depth = (best - scores.astype(float)) / (best - worst) if best > worst else np.zeros(len(scores))
    stratum = np.minimum((depth * STRATA).astype(int), STRATA - 1)
    drawn_from = np.bincount(stratum[drawn], minlength=STRATA)
    # A stratum that could have given more gave at most one less than any other.
    could_give_more = np.bincount(stratum, minlength=STRATA) > drawn_from
    if could_give_more.any():
        assert drawn_from[could_give_more].min() >= drawn_from.max() - 1


def test_stratified_covers_the_range_where_nearly_all_lie_at_its_end():
    scores = np.array([*np.linspace(10, 1, 10), *np.full(90, 0.5)], dtype=np.float32)
    drawn = SAMPLING["stratified"](scores, 10, query_randomness(0, "q"))
    assert drawn[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert SAMPLING["random"](scores, 10, query_randomness(0, "q"))[5] > 10


def test_top_is_the_head_of_the_ranking_whatever_the_scores():
    scores = np.array([1, 5, 3], dtype=np.float32)
    assert SAMPLING["top"](scores, 2, query_randomness(0, "q")).tolist() == [0, 1]


def test_every_candidate_can_be_drawn():
    scores = np.array([3, 2.9, 2.8, 0], dtype=np.float32)
    for sampling in ("random", "stratified"):
        drawn = [SAMPLING[sampling](scores, 2, query_randomness(seed, "q")).tolist() for seed in range(60)]
        assert {position for positions in drawn for position in positions} == {0, 1, 2, 3}
    # Two strata have candidates: each gives one.
    assert {positions[1] for positions in drawn} == {3}


def test_seed_and_query_make_the_randomness():
    numbers = {query_randomness(seed, qid).integers(2**62) for seed in (0, 1, 11) for qid in ("1", "11", "q")}
    assert len(numbers) == 9
