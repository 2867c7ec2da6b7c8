"""Bins of teacher's margins: the hand-checked numbers, and one query at a time against many at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyserini_tasb.training.binning import (
    BINNINGS,
    bin_one_query,
    equal_width_bins,
    quantile_bin_one_query,
    quantile_bins,
)
from tests.conftest import DATA

CASES = json.loads((DATA / "train" / "oracle_margin_bins.json").read_text())["cases"]

finite_margins = st.floats(width=32, allow_nan=False, allow_infinity=False)
lists_of_margins = st.lists(st.lists(finite_margins, min_size=1, max_size=40), min_size=1, max_size=6)


def together(binning, margins, bins):
    """The bins of several queries, found at once, as a list for each query."""
    counts = np.array([len(of_query) for of_query in margins])
    found = binning(np.concatenate([np.array(of_query, np.float32) for of_query in margins]), counts, bins)
    return [part.tolist() for part in np.split(found, np.cumsum(counts)[:-1])]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_oracle(case):
    found = bin_one_query(case["margins"], case["h"])
    assert found.tolist() == case["bin_index"]
    assert sorted(set(found.tolist())) == case["nonempty"]
    assert together(equal_width_bins, [case["margins"]], case["h"]) == [case["bin_index"]]


def test_oracle_cases_at_once():
    of_ten = [case for case in CASES if case["h"] == 10]
    assert together(equal_width_bins, [case["margins"] for case in of_ten], 10) == [
        case["bin_index"] for case in of_ten
    ]


# Middle margins that are just at an edge, where the division rounds down and up.
@example([[0.0, 5436673.0, 10873346.0], [0.0, 1.0]], 14)
@example([[0.0, 3911203.0, 7822406.0], [1.0, 1.0000001]], 22)
@example([[9007199254740992.0], [16777215.0, 16777216.0]], 2)
@example([[-3.4e38, 3.4e38, 0.0]], 7)
@given(lists_of_margins, st.integers(1, 30))
def test_many_queries_at_once_are_as_one_by_one(margins, bins):
    margins = [[float(np.float32(margin)) for margin in of_query] for of_query in margins]
    assert together(equal_width_bins, margins, bins) == [bin_one_query(of_query, bins).tolist() for of_query in margins]
    assert together(quantile_bins, margins, bins) == [
        quantile_bin_one_query(of_query, bins).tolist() for of_query in margins
    ]


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=60), st.integers(1, 20))
def test_equal_width_is_equation_12(numerators, bins):
    """In exact arithmetic: margins and edges are multiples of 1/64."""
    low, high = min(numerators), max(numerators)
    margins = np.array(numerators) * bins / 64  # so that the width is a multiple, too
    expected = [0 if low == high else min((n - low) * bins // (high - low), bins - 1) for n in numerators]
    assert bin_one_query(margins, bins).tolist() == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 12))
def test_quantile_bins(margins, bins):
    found = quantile_bin_one_query(margins, bins)
    of_margin = dict(zip(margins, found.tolist(), strict=True))
    assert [of_margin[margin] for margin in margins] == found.tolist()  # equal margins, equal bins
    in_order = [of_margin[margin] for margin in sorted(of_margin)]
    assert in_order == sorted(in_order)
    assert 0 <= found.min() == 0
    assert found.max() < bins


def test_quantile_bins_hold_equally_many():
    margins = np.random.default_rng(0).exponential(size=80).astype(np.float32)
    assert np.bincount(quantile_bin_one_query(margins, 10)).tolist() == [8] * 10
    assert np.bincount(bin_one_query(margins, 10), minlength=10).tolist() != [8] * 10


@pytest.mark.parametrize("binning", BINNINGS)
def test_one_bin(binning):
    assert together(BINNINGS[binning], [[3.0, 3.0, 3.0], [1.0], [1.0, 2.0]], 1) == [[0, 0, 0], [0], [0, 0]]
    assert together(BINNINGS[binning], [[3.0, 3.0, 3.0], [1.0], [-0.0, 0.0]], 10) == [[0, 0, 0], [0], [0, 0]]
