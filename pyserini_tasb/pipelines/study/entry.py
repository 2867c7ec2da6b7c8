"""One line of a study's table: a cell over its seeds, or a row beside the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.row import Row


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Args:
        name: of a row beside the cells, or a cell's levels joined by `+`.
        levels: a cell's; None of a row beside the cells.
        rows: one for each seed.
    """

    name: str
    levels: tuple[str, ...] | None
    rows: list[Row]

    def label(self, study: StudyConfig) -> str:
        """For readers."""
        return self.name if self.levels is None else study.label_of(self.levels)

    def per_query(self, task: str, measure: str) -> NDArray[np.float64] | None:
        """Values [queries], the mean over seeds, in the order of the query ids; None where there are none."""
        values = [row.values[task][measure] for row in self.rows if task in row.values]
        if not values:
            return None
        mean: NDArray[np.float64] = np.mean([[each[qid] for qid in sorted(each)] for each in values], axis=0)
        return mean

    def by_seed(self, task: str, measure: str) -> NDArray[np.float64]:
        """Values [seeds], the mean over queries."""
        values = [row.values[task][measure] for row in self.rows if task in row.values]
        return np.array([np.mean(list(by_query.values())) for by_query in values])

    @property
    def seconds_per_pair(self) -> float | None:
        """Of training, the median over seeds."""
        seconds = [row.seconds_per_pair for row in self.rows if row.seconds_per_pair is not None]
        return float(np.median(seconds)) if seconds else None
