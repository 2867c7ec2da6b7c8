"""What a fusion method is: what each run contributes to a document, and how that becomes one score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.fuse.missing import DROP, NOTHING
from pyserini_tasb.fuse.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.fuse.evidence import Evidence

    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]
    Contributions = Callable[[Evidence], Matrix]
    # Weighted contributions and which runs have the document, [candidates, runs] both, to [candidates].
    Combination = Callable[[Matrix, NDArray[np.bool_]], Column]

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
