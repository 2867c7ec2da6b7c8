"""The overlap of two rankings: by hand, by the paper's sums, and by properties."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.evaluation.overlap import overlap, rank_biased_overlap

RANKING = st.permutations(range(8))


def test_overlap():
    assert overlap([1, 2, 3, 4], [4, 3, 9, 8]) == 0.5


def test_by_hand():
    # Agreement at depths 1 to 3: 0, 2/2, 2/3; p = 0.5.
    expected = 2 / 3 * 0.5**3 + 0.5 / 0.5 * (0 * 0.5 + 1 * 0.25 + 2 / 3 * 0.125)
    assert rank_biased_overlap(["a", "b", "c"], ["b", "a", "d"], 0.5) == pytest.approx(expected)


def test_first_ten_ranks_have_the_weight_that_the_docstring_says():
    # The same ten first, nothing in common after: what is lacking is the weight of the ranks below, decreasing.
    one, other = list(range(1000)), [*range(10), *range(5000, 5990)]
    shared = sum(0.1 / 0.9 * 0.9**depth * min(1, 10 / depth) for depth in range(1, 2000))
    assert rank_biased_overlap(one, other) == pytest.approx(shared, abs=1e-3)
    # Webber et al., Eq. 21: the weight of the first d ranks.
    beyond = sum(0.9**depth / depth for depth in range(1, 10))
    assert 1 - 0.9**9 + 0.1 / 0.9 * 10 * (2.302585093 - beyond) == pytest.approx(0.86, abs=0.005)


def test_rankings_of_different_lengths_by_hand():
    # Common at depths 1 to 4: 0, 2, 2, 2 (the shorter ends at 2); p = 0.5. Webber et al., Eq. 32.
    short, long = ["a", "b"], ["b", "a", "c", "d"]
    sums = 0 / 1 * 0.5 + 2 / 2 * 0.25 + 2 / 3 * 0.125 + 2 / 4 * 0.0625
    extrapolated = 2 * 1 / (2 * 3) * 0.125 + 2 * 2 / (2 * 4) * 0.0625
    beyond = ((2 - 2) / 4 + 2 / 2) * 0.0625
    assert rank_biased_overlap(short, long, 0.5) == pytest.approx(sums + extrapolated + beyond)
    assert rank_biased_overlap(long, short, 0.5) == rank_biased_overlap(short, long, 0.5)


def test_empty_rankings():
    assert rank_biased_overlap([], []) == 1
    assert rank_biased_overlap([], ["a"]) == rank_biased_overlap(["a"], []) == 0


@given(RANKING, st.integers(1, 8))
def test_a_ranking_cut_short_agrees_with_itself(ranking, length):
    assert rank_biased_overlap(ranking, ranking[:length]) == pytest.approx(1)


@given(RANKING, RANKING)
def test_properties(one, other):
    value = rank_biased_overlap(one, other)
    assert 0 <= value <= 1 + 1e-12
    assert value == pytest.approx(rank_biased_overlap(other, one))
    assert rank_biased_overlap(one, one) == pytest.approx(1)
    assert (value > 1 - 1e-12) == (one == other)
    assert rank_biased_overlap(one, [item + 8 for item in other]) == 0


@given(RANKING, RANKING)
def test_agreement_is_counted_as_sets(one, other):
    expected = [len({*one[:depth]} & {*other[:depth]}) / depth for depth in range(1, 9)]
    total = sum(agreement * 0.9**depth for depth, agreement in zip(itertools.count(1), expected, strict=False))
    assert rank_biased_overlap(one, other) == pytest.approx(expected[-1] * 0.9**8 + 0.1 / 0.9 * total)
