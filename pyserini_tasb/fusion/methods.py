"""All fusion methods, and what a document gets from a run that lacks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.fusion.candidates import Evidence
    from pyserini_tasb.fusion.normalisations import Normalisation, ScoredLists

    Missing = Callable[[Normalisation, ScoredLists], NDArray[np.float64]]
    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]
    Contributions = Callable[[Evidence], Matrix]
    Combination = Callable[[Matrix, NDArray[np.bool_]], Column]


NOTHING = "nothing"
DROP = "drop"
MISSING: Registry[Missing] = Registry("rule for missing documents")


def missing_rule(name: str) -> Callable[[Missing], Missing]:
    """Register a function that gives the normalised score for each list, shape (queries,)."""

    def register(function: Missing) -> Missing:
        MISSING.add(name, function)
        return function

    return register


@missing_rule("minimum")
def _minimum(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """What the list's last document has, as in Pyserini's HybridSearcher."""
    return normalisation.lowest(lists)


@missing_rule("zero")
def _zero(_normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """0, after normalisation."""
    return np.zeros_like(lists.lowest)


@missing_rule("theoretical")
def _theoretical(normalisation: Normalisation, lists: ScoredLists) -> NDArray[np.float64]:
    """What the lowest score has that the run's model can give."""
    return normalisation.theoretical_minimum(lists)


# A document that any run lacks is no candidate, so that what it would get does not matter.
missing_rule(DROP)(_zero)
# The method counts only the runs that have the document.
missing_rule(NOTHING)(_zero)


# --------
# What a fusion method is: what each run contributes to a document, and how that becomes one score.

SCORE_MISSING = ("minimum", "zero", "theoretical", DROP)
RANK_MISSING = (NOTHING, DROP)


@dataclass(frozen=True)
class Method:
    """One way to fuse.

    Attributes:
        contributions: [candidates, runs], before weights.
        combination: of the weighted contributions.
        uses_scores: or ranks only.
        missing: what a document that a run lacks gets unless told otherwise; `missing_choices` are all it may get.
        weights_sum_to_one: weights are divided by their sum, and none may be negative.
    """

    contributions: Contributions
    combination: Combination
    uses_scores: bool
    missing: str
    missing_choices: tuple[str, ...]
    weights_sum_to_one: bool = False

    @property
    def is_weighted_sum(self) -> bool:
        """Whether the fused score is linear in the weights, which is what can be tuned."""
        return self.combination is weighted_sum

    def require_weights(self, weights: Sequence[float]) -> None:
        """Refuse weights that the method cannot take.

        Raises:
            TasbError: a negative one, or none above 0, where they are shares.
        """
        if self.weights_sum_to_one and (min(weights) < 0 or sum(weights) <= 0):
            raise TasbError(
                expected="weights from 0 on, one of them above 0", found=str(tuple(weights)), do="or use `linear`"
            )

    def shares(self, weights: Sequence[float]) -> NDArray[np.float64]:
        """The weights as they are multiplied, shape (runs,)."""
        given = np.asarray(weights, dtype=np.float64)
        return given / given.sum() if self.weights_sum_to_one else given

    def fused(self, evidence: Evidence) -> Column:
        """The fused score of each candidate, shape (candidates,)."""
        present = evidence.present
        weights = self.shares(evidence.fusion.weights_of(present.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused afterwards
            return self.combination(self.contributions(evidence) * weights, present)


METHODS: Registry[Method] = Registry("fusion method")


def weighted_sum(contributions: Matrix, _present: NDArray[np.bool_]) -> Column:
    """Sum over runs, in their order: the same float64 on every machine."""
    total = contributions[:, 0].copy()
    for run in range(1, contributions.shape[1]):
        total += contributions[:, run]
    return total


def sum_by_count(contributions: Matrix, present: NDArray[np.bool_]) -> Column:
    """The sum, times how many runs have the document."""
    return np.asarray(weighted_sum(contributions, present) * present.sum(axis=1))


def normalised_scores(evidence: Evidence) -> Matrix:
    """The normalised scores themselves."""
    return evidence.scores()


# --------
# Borda count (Aslam and Montague 2001).


def _points(evidence: Evidence) -> Matrix:
    """Of c candidates a run's first gets c points, the next c - 1; those it lacks share the points that are left."""
    candidates = evidence.candidates()[:, None]
    left = (candidates - evidence.lengths() + 1) / 2  # the mean of 1 to c - n
    return np.asarray(np.where(evidence.present, candidates + 1 - evidence.ranks(), left))


METHODS.add("borda", Method(_points, weighted_sum, False, RANK_MISSING[0], RANK_MISSING))


# --------
# CombSUM, CombMNZ, CombMAX and CombMIN (Fox and Shaw 1994).


def _highest(contributions: Matrix, present: NDArray[np.bool_]) -> Column:
    """Of the runs that have the document."""
    return np.asarray(np.where(present, contributions, -np.inf).max(axis=1))


def _lowest(contributions: Matrix, present: NDArray[np.bool_]) -> Column:
    """Of the runs that have the document."""
    return np.asarray(np.where(present, contributions, np.inf).min(axis=1))


METHODS.add("combsum", Method(normalised_scores, weighted_sum, True, "zero", SCORE_MISSING))
METHODS.add("combmnz", Method(normalised_scores, sum_by_count, True, "zero", SCORE_MISSING))
METHODS.add("combmax", Method(normalised_scores, _highest, True, RANK_MISSING[0], RANK_MISSING))
METHODS.add("combmin", Method(normalised_scores, _lowest, True, RANK_MISSING[0], RANK_MISSING))


# --------
# Linear and convex combination of scores.

# The sum of weight times score. With weights 1 and alpha for a dense and a sparse run it is Pyserini's hybrid score,
# dense + alpha * sparse; bit for bit, with `minimum` and the normalisation `none` or `pyserini`.
METHODS.add("linear", Method(normalised_scores, weighted_sum, True, "minimum", SCORE_MISSING))
# The same with weights that sum to 1.
METHODS.add("convex", Method(normalised_scores, weighted_sum, True, "minimum", SCORE_MISSING, weights_sum_to_one=True))


# --------
# Sums of reciprocal ranks: RRF and ISR. A run that lacks a document contributes nothing.


def _reciprocal_ranks(evidence: Evidence) -> Matrix:
    """1 / (k + rank) (Cormack et al. 2009)."""
    return np.asarray(1 / (evidence.fusion.rrf_k + evidence.ranks()))


def _inverse_square_ranks(evidence: Evidence) -> Matrix:
    """1 / rank squared (Mourão et al. 2014)."""
    return np.asarray(1 / evidence.ranks() ** 2)


METHODS.add("rrf", Method(_reciprocal_ranks, weighted_sum, False, RANK_MISSING[0], RANK_MISSING))
METHODS.add("isr", Method(_inverse_square_ranks, sum_by_count, False, RANK_MISSING[0], RANK_MISSING))
