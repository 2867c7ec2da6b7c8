"""What normalisations see: the lists of one run, one for each query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.columnar import RunTable


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
