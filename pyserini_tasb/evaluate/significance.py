"""Whether two runs differ by more than chance, and by how much: paired tests over queries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pyserini_tasb.evaluate.randomisation import randomisation_p

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Key = TypeVar("Key")

SIGNIFICANT = 0.05
CONFIDENCE = 0.95
TESTS = {"t": "paired t-test", "randomisation": "randomisation test"}


@dataclass(frozen=True)
class PairedTest:
    """A run against another on one measure, query by query.

    Attributes:
        test: what `p` is of, a key of `TESTS`.
        difference: mean of run minus other.
        interval: 95 % confidence interval of the mean difference, by Student's t; infinite for fewer than two queries.
        effect_size: Cohen's d for paired samples, d_z: mean of the differences over their standard deviation (Lakens
            2013), which is t / √n.
        t: Student's t; ±inf when every query differs by the same amount.
        p: two-sided.
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
        """Whether the two differ by more than chance, after Holm's correction."""
        return self.p_holm < SIGNIFICANT


def paired_test(run: ArrayLike, other: ArrayLike, test: str = "t", seed: int = 0) -> PairedTest:
    """Two-sided paired test over queries: Student's (scipy.stats.ttest_rel) or by randomisation.

    Equal values on every query, or fewer than two queries, are no evidence: t = 0, p = 1.

    Args:
        run: one value a query, shape (queries,).
        other: likewise, for the same queries in the same order.
        test: `t` or `randomisation`.
        seed: of the randomisation test.

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


def paired_tests(
    pairs: Mapping[Key, tuple[ArrayLike, ArrayLike]], test: str = "t", seed: int = 0
) -> dict[Key, PairedTest]:
    """`paired_test` of each pair (run, other), with Holm's correction over all of them."""
    tests = {key: paired_test(run, other, test, seed) for key, (run, other) in pairs.items()}
    corrected = holm([each.p for each in tests.values()])
    return {key: replace(each, p_holm=p) for (key, each), p in zip(tests.items(), corrected, strict=True)}


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
