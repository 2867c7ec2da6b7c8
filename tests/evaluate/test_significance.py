from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.evaluate import paired_t_test, paired_t_tests
from pyserini_tasb.evaluate.significance import holm


def test_textbook_example():
    # Differences 1, 3, 2, 4, 0: mean 2, standard deviation √2.5, so t = 2 / (√2.5 / √5) = 2√2. With 4 degrees of
    # freedom P(|T| > t) = 1 - x(1 + y/2) for x = t/√(4 + t²) = √(2/3) and y = 4/(4 + t²) = 1/3.
    test = paired_t_test([2, 5, 5, 8, 5], [1, 2, 3, 4, 5])
    assert (test.difference, test.n) == (2.0, 5)
    assert (test.wins, test.ties, test.losses) == (4, 1, 0)
    assert test.t == pytest.approx(2 * math.sqrt(2))
    assert test.p == pytest.approx(1 - math.sqrt(2 / 3) * (1 + 1 / 6))
    assert test.p_holm == test.p


def test_baseline_wins_the_other_way_round():
    values, baseline = [0.2, 0.4, 0.1], [0.5, 0.3, 0.3]
    there, back = paired_t_test(values, baseline), paired_t_test(baseline, values)
    assert (there.difference, there.t, there.p) == pytest.approx((-back.difference, -back.t, back.p))
    assert (there.wins, there.losses) == (back.losses, back.wins) == (1, 2)


@pytest.mark.parametrize("values", [[0.3, 0.5, 0.7], [0.5]])
def test_no_difference_is_no_evidence(values):
    test = paired_t_test(values, values)
    assert (test.difference, test.t, test.p, test.ties) == (0.0, 0.0, 1.0, len(values))


def test_one_query_is_no_evidence():
    test = paired_t_test([0.9], [0.1])
    assert (test.t, test.p, test.wins, test.n) == (0.0, 1.0, 1, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("baseline", "t"), [([0.0, 0.5], math.inf), ([1.0, 1.5], -math.inf)])
def test_the_same_difference_on_every_query(baseline, t):
    test = paired_t_test([0.5, 1.0], baseline)
    assert (test.t, test.p) == (t, 0.0)


@pytest.mark.parametrize(("run", "baseline"), [([1, 2], [1]), ([], []), ([[1]], [[1]])])
def test_shapes_must_be_one_value_a_query(run, baseline):
    with pytest.raises(ValueError, match="expected two arrays"):
        paired_t_test(run, baseline)


def test_holms_own_steps():
    # 4 · .005, then 3 · .01, then 2 · .03, then no less than that.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_p_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    assert all(p <= after <= 1 for p, after in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
    assert corrected[order[0]] == min(1.0, p_values[order[0]] * len(p_values))


def test_several_runs_share_one_correction():
    generator = np.random.default_rng(0)
    baseline = generator.random(40)
    runs = {name: baseline + generator.normal(shift, 0.2, 40) for name, shift in (("a", 0.08), ("b", 0.0), ("c", 0.2))}
    tests = paired_t_tests(runs, baseline)
    assert list(tests) == ["a", "b", "c"]
    assert [test.p for test in tests.values()] == [paired_t_test(values, baseline).p for values in runs.values()]
    assert [test.p_holm for test in tests.values()] == holm([test.p for test in tests.values()])
