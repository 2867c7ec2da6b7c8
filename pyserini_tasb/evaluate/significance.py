"""Whether two runs differ by more than chance: paired t-tests over queries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class PairedTTest:
    """A run against a baseline on one measure, query by query.

    Attributes:
        difference: mean of run minus baseline.
        t: Student's t; ±inf when every query differs by the same amount.
        p: two-sided.
        p_holm: `p` corrected for all runs tested against the same baseline (Holm 1979); `p` itself for a single run.
        wins: queries on which the run is better; `ties` and `losses` likewise.
        n: queries.
    """

    difference: float
    t: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    n: int


def paired_t_test(run: ArrayLike, baseline: ArrayLike) -> PairedTTest:
    """Two-sided paired t-test over queries (scipy.stats.ttest_rel).

    Equal values on every query, or fewer than two queries, are no evidence: t = 0, p = 1.

    Args:
        run: one value a query, shape (queries,).
        baseline: likewise, for the same queries in the same order.

    Raises:
        ValueError: the shapes differ, or there is no query.
    """
    values, others = np.asarray(run, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if values.ndim != 1 or values.shape != others.shape or not values.size:
        raise ValueError(f"expected two arrays of shape (queries,), found {values.shape} and {others.shape}")
    differences = values - others
    t, p = _t_and_p(values, others)
    return PairedTTest(
        difference=float(differences.mean()),
        t=t,
        p=p,
        p_holm=p,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
        n=values.size,
    )


def paired_t_tests(runs: Mapping[str, ArrayLike], baseline: ArrayLike) -> dict[str, PairedTTest]:
    """`paired_t_test` of each named run against one baseline, with Holm's correction over all of them."""
    tests = {name: paired_t_test(values, baseline) for name, values in runs.items()}
    corrected = holm([test.p for test in tests.values()])
    return {name: replace(test, p_holm=p) for (name, test), p in zip(tests.items(), corrected, strict=True)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), which bounds the chance of even one false positive; same order as given."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _t_and_p(run: np.ndarray, baseline: np.ndarray) -> tuple[float, float]:
    differences = run - baseline
    if run.size < 2 or not differences.any():
        return 0.0, 1.0
    if np.ptp(differences) == 0:  # no variance: scipy would divide by zero
        return math.copysign(math.inf, differences[0]), 0.0
    from scipy import stats  # takes most of a second

    result = stats.ttest_rel(run, baseline)
    return float(result.statistic), float(result.pvalue)
