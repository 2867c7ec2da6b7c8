"""CombSUM, CombMNZ, CombMAX and CombMIN (Fox and Shaw 1994)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.fuse.methods.method import (
    METHODS,
    RANK_MISSING,
    SCORE_MISSING,
    Method,
    normalised_scores,
    sum_by_count,
    weighted_sum,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.fuse.methods.method import Column, Matrix


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
