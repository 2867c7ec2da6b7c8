from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pyserini_tasb.evaluation.significance import SIGNIFICANT, holm, paired_test, paired_tests, randomisation_p


def test_textbook_example():
    # Differences 1, 3, 2, 4, 0: mean 2, standard deviation √2.5, so t = 2 / (√2.5 / √5) = 2√2. With 4 degrees of
    # freedom P(|T| > t) = 1 - x(1 + y/2) for x = t/√(4 + t²) = √(2/3) and y = 4/(4 + t²) = 1/3.
    test = paired_test([2, 5, 5, 8, 5], [1, 2, 3, 4, 5])
    assert (test.difference, test.n) == (2.0, 5)
    assert (test.wins, test.ties, test.losses) == (4, 1, 0)
    assert test.t == pytest.approx(2 * math.sqrt(2))
    assert test.p == pytest.approx(1 - math.sqrt(2 / 3) * (1 + 1 / 6))
    assert test.p_holm == test.p
    # d_z = 2 / √2.5, and the interval is 2 ± t.975(4) · √.5, with t.975(4) = 2.776445 from any table.
    assert test.effect_size == pytest.approx(2 / math.sqrt(2.5))
    assert test.interval == pytest.approx((2 - 2.776445 * math.sqrt(0.5), 2 + 2.776445 * math.sqrt(0.5)), abs=1e-6)


def test_baseline_wins_the_other_way_round():
    values, baseline = [0.2, 0.4, 0.1], [0.5, 0.3, 0.3]
    there, back = paired_test(values, baseline), paired_test(baseline, values)
    assert (there.difference, there.t, there.p) == pytest.approx((-back.difference, -back.t, back.p))
    assert (there.wins, there.losses) == (back.losses, back.wins) == (1, 2)
    assert there.effect_size == pytest.approx(-back.effect_size)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


@pytest.mark.parametrize("values", [[0.3, 0.5, 0.7], [0.5]])
def test_no_difference_is_no_evidence(values):
    test = paired_test(values, values)
    assert (test.difference, test.t, test.p, test.ties) == (0.0, 0.0, 1.0, len(values))
    assert test.effect_size == 0
    assert test.interval == ((0, 0) if len(values) > 1 else (-math.inf, math.inf))


def test_one_query_is_no_evidence():
    test = paired_test([0.9], [0.1])
    assert (test.t, test.p, test.wins, test.n) == (0.0, 1.0, 1, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("baseline", "t"), [([0.0, 0.5], math.inf), ([1.0, 1.5], -math.inf)])
def test_the_same_difference_on_every_query(baseline, t):
    test = paired_test([0.5, 1.0], baseline)
    assert (test.t, test.p, test.effect_size) == (t, 0.0, t)
    assert test.interval == (test.difference, test.difference)


@pytest.mark.parametrize(("run", "baseline"), [([1, 2], [1]), ([], []), ([[1]], [[1]])])
def test_shapes_must_be_one_value_a_query(run, baseline):
    with pytest.raises(ValueError, match="expected two arrays"):
        paired_test(run, baseline)


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


def test_several_pairs_share_one_correction():
    generator = np.random.default_rng(0)
    baseline = generator.random(40)
    runs = {name: baseline + generator.normal(shift, 0.2, 40) for name, shift in (("a", 0.02), ("b", 0.0), ("c", 0.2))}
    tests = paired_tests({name: (values, baseline) for name, values in runs.items()})
    assert list(tests) == ["a", "b", "c"]
    assert [test.p for test in tests.values()] == [paired_test(values, baseline).p for values in runs.values()]
    assert [test.p_holm for test in tests.values()] == holm([test.p for test in tests.values()])
    assert [test.significant for test in tests.values()] == [False, False, True]
    assert tests["a"].p < SIGNIFICANT < tests["a"].p_holm


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20))
def test_effect_size_and_interval_are_those_of_the_differences(pairs):
    run, other = np.array(pairs).T
    differences = run - other
    test = paired_test(run, other)
    low, high = test.interval
    assert low - 1e-12 <= test.difference <= high + 1e-12
    assert test.wins + test.ties + test.losses == test.n == len(pairs)
    if differences.std() > 1e-6:
        assert test.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1))
        assert (low, high) == pytest.approx(
            stats.t.interval(0.95, len(pairs) - 1, differences.mean(), stats.sem(differences)), abs=1e-12
        )
        # The interval leaves out 0 exactly when the t-test says so.
        assert (low > 0 or high < 0) == (test.p < 0.05)


def test_only_p_depends_on_the_test():
    generator = np.random.default_rng(2)
    run, other = generator.random(43) + 0.08, generator.random(43)
    by_t, by_randomisation = paired_test(run, other), paired_test(run, other, "randomisation", seed=4)
    assert vars(by_t) | {"test": "", "p": 0, "p_holm": 0} == vars(by_randomisation) | {"test": "", "p": 0, "p_holm": 0}
    assert by_randomisation.test == "randomisation"
    assert by_randomisation.p == randomisation_p(run - other, 4)
    assert by_randomisation.p == pytest.approx(by_t.p, abs=0.02)
    assert paired_tests({1: (run, other)}, "randomisation", 4) == {1: by_randomisation}


def test_there_are_two_tests():
    with pytest.raises(ValueError, match="expected one of t, randomisation, found wilcoxon"):
        paired_test([1, 2], [1, 3], "wilcoxon")
