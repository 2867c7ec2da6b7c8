"""Tests of the differences between runs: paired tests over queries, corrected for multiple comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from pyserini_tasb.evaluation.measures import RunEvaluation

    Key = TypeVar("Key")


SIGNIFICANT = 0.05
CONFIDENCE = 0.95
TESTS = {"t": "paired t-test", "randomisation": "randomisation test"}
PERMUTATIONS = 100_000
EXACT_QUERIES = 16  # 2^16 assignments of signs are fewer than would be drawn
_ROUNDING = 1e-12  # of the sum of absolute differences: equal sums, added in another order, differ by less

Tests: TypeAlias = "dict[str, dict[tuple[str, str], PairedTest]]"
"""measure → (name of the run, name of the other) → their test; Holm-corrected within a measure."""


def against_baseline(evaluations: Sequence[RunEvaluation], baseline: str, test: str = "t", seed: int = 0) -> Tests:
    """Every other run against the one named `baseline`, measure by measure."""
    base = next(evaluation for evaluation in evaluations if evaluation.name == baseline)
    return _tests([(other, base) for other in evaluations if other is not base], base.overall, test, seed)


def each_against_each(evaluations: Sequence[RunEvaluation], test: str = "t", seed: int = 0) -> Tests:
    """Every run against every later one, measure by measure."""
    return _tests(list(combinations(evaluations, 2)), evaluations[0].overall, test, seed)


def _tests(
    pairs: Sequence[tuple[RunEvaluation, RunEvaluation]], measures: Iterable[str], test: str, seed: int
) -> Tests:
    return {
        measure: paired_tests(
            {(run.name, other.name): (run.per_query[measure], other.per_query[measure]) for run, other in pairs},
            test,
            seed,
        )
        for measure in measures
    }


def better_than(tests: Mapping[tuple[str, str], PairedTest], name: str) -> set[str]:
    """The runs that one run is significantly better than, by the tests of one measure."""
    as_run = {other for (run, other), test in tests.items() if run == name and test.significant and test.difference > 0}
    as_other = {
        run for (run, other), test in tests.items() if other == name and test.significant and test.difference < 0
    }
    return as_run | as_other


@dataclass(frozen=True)
class PairedTest:
    """A run against another on one measure, query by query.

    Attributes:
        test: the significance test, a key of `TESTS`.
        difference: mean of run minus other.
        interval: 95 % confidence interval of the mean difference, by Student's t; infinite for fewer than two queries.
        effect_size: Cohen's d for paired samples, d_z: mean of the differences over their standard deviation (Lakens
            2013), which is t / √n.
        t: Student's t; ±inf when every query differs by the same amount.
        p: the two-sided p-value.
        p_holm: `p` corrected for all tests made together (Holm 1979); `p` itself for a single one.
        wins: queries on which the run is better; `ties` and `losses` likewise.
        n: queries.
    """

    test: str
    difference: float
    interval: tuple[float, float]
    effect_size: float
    t: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    n: int

    @property
    def significant(self) -> bool:
        """True if the two differ by more than chance, after Holm's correction."""
        return self.p_holm < SIGNIFICANT


def paired_tests(
    pairs: Mapping[Key, tuple[ArrayLike, ArrayLike]], test: str = "t", seed: int = 0
) -> dict[Key, PairedTest]:
    """`paired_test` of each pair (run, other), with Holm's correction over all of them."""
    tests = {key: paired_test(run, other, test, seed) for key, (run, other) in pairs.items()}
    corrected = holm([each.p for each in tests.values()])
    return {key: replace(each, p_holm=p) for (key, each), p in zip(tests.items(), corrected, strict=True)}


def paired_test(run: ArrayLike, other: ArrayLike, test: str = "t", seed: int = 0) -> PairedTest:
    """Two-sided paired test over queries: Student's (scipy.stats.ttest_rel) or by randomisation.

    Equal values on every query, or fewer than two queries, are no evidence: t = 0, p = 1.

    Args:
        run: one value a query, shape (queries,).
        other: likewise, for the same queries in the same order.
        test: `t` or `randomisation`.
        seed: the seed of the randomisation test.

    Raises:
        ValueError: the shapes differ, there is no query, or no such test.
    """
    values, others = np.asarray(run, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if values.ndim != 1 or values.shape != others.shape or not values.size:
        raise ValueError(f"expected two arrays of shape (queries,), found {values.shape} and {others.shape}")
    if test not in TESTS:
        raise ValueError(f"expected one of {', '.join(TESTS)}, found {test}")
    differences = values - others
    t, p, interval = _student(values, others)
    if test == "randomisation":
        p = randomisation_p(differences, seed)
    return PairedTest(
        test=test,
        difference=float(differences.mean()),
        interval=interval,
        effect_size=t / math.sqrt(values.size),
        t=t,
        p=p,
        p_holm=p,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
        n=values.size,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), which bounds the chance of even one false positive; same order as given."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _student(run: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float, tuple[float, float]]:
    """Student's t, its p, and the confidence interval of the mean difference."""
    differences = run - other
    if run.size < 2:
        return 0.0, 1.0, (-math.inf, math.inf)
    first = float(differences[0])
    if np.ptp(differences) == 0:  # no variance: scipy would divide by zero
        return (math.copysign(math.inf, first), 0.0, (first, first)) if first else (0.0, 1.0, (0.0, 0.0))
    from scipy import stats  # takes most of a second

    result = stats.ttest_rel(run, other)
    interval = result.confidence_interval(CONFIDENCE)
    return float(result.statistic), float(result.pvalue), (float(interval.low), float(interval.high))


def randomisation_p(differences: NDArray[np.float64], seed: int = 0) -> float:
    """Two-sided p of a mean difference (Fisher 1935; for retrieval, Smucker, Allan and Carterette 2007).

    Under the null hypothesis each query's difference might as well have had the other sign. Up to 16 queries that
    differ, p is exact: the share of all assignments of signs whose sum is as far from 0 as the observed one. Beyond,
    100,000 are drawn, and the observed one is counted with them (Phipson and Smyth 2010), so p is never 0.

    Args:
        differences: one value a query, shape (queries,).
        seed: the random seed; the same differences and seed give the same p.
    """
    differing = differences[differences != 0]  # no sign changes a 0
    if not differing.size:
        return 1.0
    exact = differing.size <= EXACT_QUERIES
    sums = _sums_of_all(differing) if exact else _sums_of_drawn(differing, seed)
    far = abs(differing.sum()) - _ROUNDING * np.abs(differing).sum()
    as_far = int((np.abs(sums) >= far).sum())
    return as_far / sums.size if exact else (as_far + 1) / (sums.size + 1)


def _sums_of_all(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum under each assignment of signs."""
    assignments = np.arange(2**differences.size)
    sums = np.zeros(assignments.size)
    for eight, sums_of_eight in enumerate(_sums_of_eights(differences)):
        sums += sums_of_eight[assignments >> 8 * eight & 255]
    return sums


def _sums_of_drawn(differences: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    sums = np.zeros(PERMUTATIONS)
    for sums_of_eight in _sums_of_eights(differences):
        sums += sums_of_eight[generator.integers(0, 256, PERMUTATIONS, dtype=np.uint8)]
    return sums


def _sums_of_eights(differences: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Sums of each eight differences under all 256 assignments of signs: so eight cost a single look-up."""
    signs = 1 - 2 * (np.arange(256)[:, None] >> np.arange(8) & 1)
    for start in range(0, differences.size, 8):
        eight = differences[start : start + 8]
        yield signs[:, : eight.size] @ eight
