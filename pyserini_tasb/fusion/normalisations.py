"""Normalisations: scores of different models made comparable, list by list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pyserini_tasb.formats.run_table import RunTable

    Column = NDArray[np.float64]
    ShiftAndScale = Callable[["ScoredLists"], tuple[Column, Column]]


@dataclass(frozen=True, eq=False)
class ScoredLists:
    """Scores of one run, best first within each query, and what they have been.

    An empty list has 0 for its lowest score and 1 for its highest, as in Pyserini's HybridSearcher.

    Attributes:
        scores: float64, shape (rows,).
        starts: int64, shape (queries + 1,).
        ranks: int64 from 1 on, shape (rows,).
        lowest: shape (queries,); `highest` likewise.
        theoretical_minimum: the lowest score that the run's model can give; None where it is not known.
    """

    scores: NDArray[np.float64]
    starts: NDArray[np.int64]
    ranks: NDArray[np.int64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    theoretical_minimum: float | None = None

    @classmethod
    def of(cls, table: RunTable, theoretical_minimum: float | None = None) -> ScoredLists:
        """The lists of a table."""
        lengths, filled = table.lengths, table.lengths > 0
        lowest, highest = np.zeros(len(lengths)), np.ones(len(lengths))
        highest[filled] = table.scores[table.starts[:-1][filled]]
        lowest[filled] = table.scores[table.starts[1:][filled] - 1]
        ranks = np.arange(1, len(table.scores) + 1) - np.repeat(table.starts[:-1], lengths)
        return cls(table.scores, table.starts, ranks, lowest, highest, theoretical_minimum)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each query, shape (queries,)."""
        return np.diff(self.starts)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each query's rows, shape (queries,)."""
        sums, filled = np.zeros(len(self.starts) - 1), self.lengths > 0
        if filled.any():
            sums[filled] = np.add.reduceat(values, self.starts[:-1][filled])
        return sums


# --------
# Normalisations: what makes scores of different models comparable, list by list.
#
# All of them are (value - shift) / scale with one shift and one scale for each list, so that the score of a document
# which a list lacks goes the same way. Where all scores of a list are equal, scale would be 0; each says what it is
# then.


@dataclass(frozen=True)
class Normalisation:
    """One way to normalise.

    Attributes:
        shift_and_scale: of each list, shape (queries,) both.
        of_ranks: whether the value of a document is its place counted from the end of the list, not its score.
        needs_minimum: whether the theoretical minimum has to be known.
    """

    shift_and_scale: ShiftAndScale
    of_ranks: bool = False
    needs_minimum: bool = False

    def values(self, lists: ScoredLists) -> Column:
        """Normalised, shape (rows,)."""
        shift, scale = self.shift_and_scale(lists)
        places = np.repeat(lists.lengths, lists.lengths) - lists.ranks + 1
        values = places.astype(np.float64) if self.of_ranks else lists.scores
        return np.asarray((values - np.repeat(shift, lists.lengths)) / np.repeat(scale, lists.lengths))

    def lowest(self, lists: ScoredLists) -> Column:
        """What the last document of each list has, shape (queries,)."""
        shift, scale = self.shift_and_scale(lists)
        return np.asarray(((1.0 if self.of_ranks else lists.lowest) - shift) / scale)

    def theoretical_minimum(self, lists: ScoredLists) -> Column:
        """What a document of the lowest possible score would have, shape (queries,)."""
        shift, scale = self.shift_and_scale(lists)
        lowest = 0.0 if self.of_ranks or lists.theoretical_minimum is None else lists.theoretical_minimum
        return np.asarray((lowest - shift) / scale)


NORMALISATIONS: Registry[Normalisation] = Registry("normalisation")


def normalisation(
    name: str, *, of_ranks: bool = False, needs_minimum: bool = False
) -> Callable[[ShiftAndScale], ShiftAndScale]:
    """Register a function that gives each list's shift and scale."""

    def register(function: ShiftAndScale) -> ShiftAndScale:
        NORMALISATIONS.add(name, Normalisation(function, of_ranks, needs_minimum))
        return function

    return register


@normalisation("none")
def _none(lists: ScoredLists) -> tuple[Column, Column]:
    """Scores as they are."""
    return np.zeros_like(lists.lowest), np.ones_like(lists.lowest)


@normalisation("min-max")
def _min_max(lists: ScoredLists) -> tuple[Column, Column]:
    """From 0 to 1; equal scores are 1, since all of them are the best (so in pyserini.fusion; in ranx they are 0)."""
    equal = lists.highest == lists.lowest
    return np.where(equal, lists.lowest - 1, lists.lowest), np.where(equal, 1, lists.highest - lists.lowest)


@normalisation("pyserini")
def _pyserini(lists: ScoredLists) -> tuple[Column, Column]:
    """From -1/2 to 1/2, HybridSearcher's `--normalization`; equal scores, by whose spread it would divide, are 0."""
    spread = lists.highest - lists.lowest
    return (lists.lowest + lists.highest) / 2, np.where(spread == 0, 1, spread)


@normalisation("max")
def _max(lists: ScoredLists) -> tuple[Column, Column]:
    """The best is 1, or -1 where it is negative, since dividing by that would turn the list round; 0 stays 0."""
    return np.zeros_like(lists.highest), np.where(lists.highest == 0, 1, np.abs(lists.highest))


@normalisation("z-score")
def _z_score(lists: ScoredLists) -> tuple[Column, Column]:
    """Mean 0, standard deviation 1 (of the population); equal scores are 0."""
    counts = np.maximum(lists.lengths, 1)
    mean = lists.sums(lists.scores) / counts
    squares = lists.sums((lists.scores - np.repeat(mean, lists.lengths)) ** 2)
    equal = lists.highest == lists.lowest  # of which rounding may leave a deviation
    return np.where(equal, lists.lowest, mean), np.where(equal | (squares == 0), 1, np.sqrt(squares / counts))


@normalisation("theoretical-min", needs_minimum=True)
def _theoretical_min(lists: ScoredLists) -> tuple[Column, Column]:
    """From the lowest possible score, which is 0, to the best, which is 1 (Bruch et al. 2023, TM2C2).

    Where the best is the lowest possible score, all are 0.
    """
    minimum = np.full_like(lists.highest, lists.theoretical_minimum)
    spread = lists.highest - minimum
    return minimum, np.where((spread == 0) | (lists.lengths == 0), 1, spread)


@normalisation("rank", of_ranks=True)
def _rank(lists: ScoredLists) -> tuple[Column, Column]:
    """The best of n is 1, the next 1 - 1/n, the last 1/n; scores do not count."""
    return np.zeros_like(lists.lowest), np.maximum(lists.lengths, 1).astype(np.float64)
