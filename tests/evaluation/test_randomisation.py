"""The randomisation test, against SciPy's permutation test and by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pyserini_tasb.evaluation.significance import EXACT_QUERIES, PERMUTATIONS, randomisation_p

DIFFERENCES = st.lists(st.integers(-4, 4).map(lambda tenths: tenths / 10), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3], 2 / 8),  # only +6 and -6 are as far from 0
        ([1, 2, -3], 1),
        ([1, 2, 4, -1], 6 / 16),  # ±8, and ±6 twice, since either 1 may be subtracted
        ([0, 1, 0, 2, 3, 0], 2 / 8),  # queries without a difference change nothing
        ([0.1, 0.2, 0.3], 2 / 8),
        ([0.3, -0.1, -0.2], 1),  # in floating point the sum is not quite 0
        ([5], 1),
        ([0, 0], 1),
        ([1] * 16, 2 / 2**16),
    ],
)
def test_by_hand(differences, p):
    assert randomisation_p(np.array(differences, dtype=np.float64)) == p


@settings(max_examples=40)
@given(DIFFERENCES)
def test_exact_p_is_scipys_and_counts_every_assignment(differences):
    array = np.array(differences)
    p = randomisation_p(array)
    sums = [abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) for signs in
            product((1, -1), repeat=len(differences))]  # fmt: skip
    assert p == pytest.approx(np.mean(np.array(sums) >= abs(sum(differences)) - 1e-9))
    if len(differences) > 1:
        # In whole numbers, whose sums SciPy can compare without rounding.
        whole = np.round(array * 10)
        result = stats.permutation_test((whole, 0 * whole), lambda x, y: (x - y).sum(), permutation_type="samples",
                                        n_resamples=np.inf)  # fmt: skip
        assert p == pytest.approx(result.pvalue)


@settings(max_examples=40)
@given(DIFFERENCES, st.randoms(use_true_random=False))
def test_neither_direction_nor_order_matters(differences, generator):
    p = randomisation_p(np.array(differences))
    shuffled = generator.sample(differences, len(differences))
    assert randomisation_p(-np.array(shuffled)) == p
    assert 2 / 2 ** len(differences) <= p <= 1


def normal(queries: int, mean: float) -> np.ndarray:
    return np.random.default_rng(3).normal(mean, 1, queries)


@pytest.mark.parametrize(("queries", "mean"), [(40, 0.3), (43, 0.15), (300, 0.1)])
def test_drawn_p_is_close_to_scipys(queries, mean):
    differences = normal(queries, mean)
    result = stats.permutation_test(
        (differences, 0 * differences), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        n_resamples=20_000, vectorized=True, rng=np.random.default_rng(1), batch=5_000,
    )  # fmt: skip
    assert randomisation_p(differences) == pytest.approx(result.pvalue, abs=0.012)


def test_drawn_p_is_close_to_the_exact_one():
    differences = normal(EXACT_QUERIES + 1, 0.4)
    signs = 1 - 2 * (np.arange(2**differences.size)[:, None] >> np.arange(differences.size) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    drawn = randomisation_p(differences)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.005)


def test_one_seed_gives_one_p_and_no_p_is_zero():
    differences = normal(30, 0.3)
    assert randomisation_p(differences) == randomisation_p(differences, 0) != randomisation_p(differences, 1)
    assert randomisation_p(np.ones(30)) == 1 / (PERMUTATIONS + 1)
