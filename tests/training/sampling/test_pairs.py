"""Pairs of a batch: how likely each is, by hand-checked numbers, and which never are."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.binning import BINNINGS, MarginCutoff, bin_one_query, equal_width_bins
from pyserini_tasb.training.sampling import (
    BalancedPairs,
    Purpose,
    UniformPairs,
    UniformPairsWithin,
    Uniforms,
)
from tests.conftest import DATA
from tests.training.sampling.pairs_in_memory import pairs_of

CASES = json.loads((DATA / "train" / "oracle_margin_bins.json").read_text())["cases"]
NO_CUTOFF = MarginCutoff()


def balanced(pairs, bins=10, cutoff=NO_CUTOFF, binning=equal_width_bins):
    return BalancedPairs(pairs, cutoff, binning, bins)


def rows_drawn(choice, queries, draws):
    """[draws, queries]"""
    numbers = np.array(queries)
    return np.stack([choice.choose(numbers, Uniforms(4, step, Purpose.PAIRS)) for step in range(draws)])


def assert_distribution(rows, first, probabilities):
    counts = np.bincount(rows - first, minlength=len(probabilities))
    assert len(counts) == len(probabilities)
    assert (counts[np.array(probabilities) == 0] == 0).all()
    possible = np.array(probabilities) > 0
    if possible.sum() > 1:
        expected = np.array(probabilities)[possible]
        assert chisquare(counts[possible], expected / expected.sum() * len(rows)).pvalue > 0.005


@pytest.mark.parametrize("h", sorted({case["h"] for case in CASES}))
def test_oracle(h):
    """All cases with the same number of bins are one batch, so that none may look at another's margins."""
    cases = [case for case in CASES if case["h"] == h]
    pairs = pairs_of([case["margins"] for case in cases])
    rows = rows_drawn(balanced(pairs, h), range(len(cases)), 2_500)
    for query, case in enumerate(cases):
        assert_distribution(rows[:, query], pairs.offsets[query], case["pair_probability"])


def test_uniform_pairs():
    pairs = pairs_of([[0.0] * 3, [], [0.0] * 7, [0.0]])
    rows = rows_drawn(UniformPairs(pairs), [2, 3, 0], 2_500)
    assert_distribution(rows[:, 0], 3, [1 / 7] * 7)
    assert set(rows[:, 1]) == {10}
    assert_distribution(rows[:, 2], 0, [1 / 3] * 3)


def test_cutoff_of_uniform_pairs():
    pairs = pairs_of([[1.0, 5.0, 2.0, 3.0], [9.0, 2.0], [2.5, 2.5, 2.5]])
    rows = rows_drawn(UniformPairsWithin(pairs, MarginCutoff(2.0, 4.0)), [0, 1, 2], 3_000)
    assert_distribution(rows[:, 0], 0, [0, 0, 0.5, 0.5])
    assert set(rows[:, 1]) == {5}
    assert_distribution(rows[:, 2], 6, [1 / 3] * 3)


def test_bins_are_those_of_the_pairs_inside_the_cutoff():
    pairs = pairs_of([[-100.0, 0.0, 0.1, 0.2, 1.0, 500.0]])
    rows = rows_drawn(balanced(pairs, 2, MarginCutoff(0.0, 1.0)), [0], 2_500)
    assert_distribution(rows[:, 0], 0, [0, 1 / 6, 1 / 6, 1 / 6, 1 / 2, 0])


def test_quantile_bins():
    pairs = pairs_of([[0.0, 0.0, 0.0, 1.0, 2.0, 100.0]])
    rows = rows_drawn(balanced(pairs, 2, binning=BINNINGS["quantile"]), [0], 2_500)
    assert_distribution(rows[:, 0], 0, [1 / 6] * 6)
    rows = rows_drawn(balanced(pairs, 3, binning=BINNINGS["quantile"]), [0], 2_500)  # bins 0 0 0 | 1 | 2 2
    assert_distribution(rows[:, 0], 0, [1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 6])


@pytest.mark.parametrize("binning", BINNINGS)
def test_margins_that_are_no_numbers_are_never_drawn(binning):
    pairs = pairs_of([[np.nan, 1.0, 2.0], [np.inf, -np.inf, 3.0], [4.0, 5.0]])
    rows = rows_drawn(balanced(pairs, binning=BINNINGS[binning]), [0, 1, 2], 500)
    assert set(rows[:, 0]) == {1, 2}
    assert set(rows[:, 1]) == {5}
    assert set(rows[:, 2]) == {6, 7}


def test_a_query_without_a_finite_margin():
    with pytest.raises(TasbError, match="none in the pairs of query 1"):
        rows_drawn(balanced(pairs_of([[1.0], [np.nan, np.nan]])), [0, 1], 1)


@st.composite
def situations(draw):
    margins = draw(st.lists(st.lists(st.integers(-20, 20), max_size=12), min_size=1, max_size=8))
    return [[margin / 4 for margin in of_query] for of_query in margins]


@given(situations(), st.integers(1, 12), st.integers(-20, 20), st.integers(0, 20), st.booleans())
@settings(max_examples=100)
def test_invariants(margins, bins, low, span, limited):
    pairs = pairs_of(margins)
    cutoff = MarginCutoff(low / 4, (low + span) / 4) if limited else NO_CUTOFF
    usable = np.flatnonzero(cutoff.usable(pairs))
    allowed = [[m for m in of_query if not limited or low <= m * 4 <= low + span] for of_query in margins]
    assert usable.tolist() == [query for query, of_query in enumerate(allowed) if of_query]
    if not len(usable):
        return
    for choice in (balanced(pairs, bins, cutoff), UniformPairsWithin(pairs, cutoff)):
        rows = choice.choose(usable, Uniforms(0, 1, Purpose.PAIRS))
        for query, row in zip(usable.tolist(), rows.tolist(), strict=True):
            assert pairs.offsets[query] <= row < pairs.offsets[query + 1]
            assert pairs.all_margins[row] in allowed[query]


@given(st.lists(st.integers(0, 9), min_size=2, max_size=8), st.integers(1, 5))
@settings(max_examples=5)
def test_bins_with_pairs_are_equally_likely(margins, bins):
    draws = 2_000
    rows = rows_drawn(balanced(pairs_of([[float(margin) for margin in margins]]), bins), [0], draws)[:, 0]
    of_pair = bin_one_query(margins, bins)
    sizes = Counter(of_pair.tolist())
    expected = np.array([1 / len(sizes) / sizes[number] for number in of_pair.tolist()])
    assert np.bincount(rows, minlength=len(margins)) / draws == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (float("nan"), None), (None, float("nan"))])
def test_a_cutoff_that_no_margin_meets(low, high):
    with pytest.raises(TasbError, match=r"sampling\.lowest_margin"):
        MarginCutoff(low, high)


def test_usable_queries_are_found_piece_by_piece(monkeypatch):
    """Pieces end between queries, also where one query is larger than a piece, and others are empty."""
    random = np.random.default_rng(0)
    margins = [random.normal(size=size).tolist() for size in random.integers(0, 12, 200)]
    margins[50], margins[199] = random.normal(size=100).tolist(), []
    pairs, cutoff = pairs_of(margins), MarginCutoff(1.0, None)
    expected = [any(margin >= 1 for margin in of_query) for of_query in margins]
    for rows_at_once in (1, 7, 30, 10_000):
        monkeypatch.setattr("pyserini_tasb.training.binning.ROWS_AT_ONCE", rows_at_once)
        assert cutoff.usable(pairs).tolist() == expected
