"""The paired randomisation test: what is left of a difference when each query's two values change places at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PERMUTATIONS = 100_000
EXACT_QUERIES = 16  # 2^16 assignments of signs are fewer than would be drawn
_ROUNDING = 1e-12  # of the sum of absolute differences: equal sums, added in another order, differ by less


def randomisation_p(differences: NDArray[np.float64], seed: int = 0) -> float:
    """Two-sided p of a mean difference (Fisher 1935; for retrieval, Smucker, Allan and Carterette 2007).

    Under the null hypothesis each query's difference might as well have had the other sign. Up to 16 queries that
    differ, p is exact: the share of all assignments of signs whose sum is as far from 0 as the observed one. Beyond,
    100,000 are drawn, and the observed one is counted with them (Phipson and Smyth 2010), so p is never 0.

    Args:
        differences: one value a query, shape (queries,).
        seed: of what is drawn; the same differences and seed give the same p.
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
    """For each eight differences their sums under all 256 assignments of signs: so eight cost a single look-up."""
    signs = 1 - 2 * (np.arange(256)[:, None] >> np.arange(8) & 1)
    for start in range(0, differences.size, 8):
        eight = differences[start : start + 8]
        yield signs[:, : eight.size] @ eight
