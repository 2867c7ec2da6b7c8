"""What a method sees of the candidates; each part is made when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.fuse.missing import DROP, MISSING
from pyserini_tasb.fuse.pool import Pool
from pyserini_tasb.fuse.scored_lists import ScoredLists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.columnar import RunTable
    from pyserini_tasb.fuse.fusion import Fusion


@dataclass(frozen=True, eq=False)
class Evidence:
    """Candidates, and the lists they come from.

    Attributes:
        pool: the candidates.
        lists: of each run.
        fusion: the choices made.
    """

    pool: Pool
    lists: Sequence[ScoredLists]
    fusion: Fusion

    @classmethod
    def of(cls, tables: Sequence[RunTable], fusion: Fusion) -> Evidence:
        """Of tables of the same queries in the same order, cut to the depth already.

        Raises:
            TasbError: a score below what was called the lowest possible.
        """
        lists = [ScoredLists.of(table, fusion.minimum_of(run)) for run, table in enumerate(tables)]
        for run, (table, of_run) in enumerate(zip(tables, lists, strict=True)):
            _require_minimum(run, table, of_run)
        pool = Pool.of(tables)
        if fusion.chosen_missing == DROP:
            pool = pool.kept(np.asarray(pool.present.all(axis=1)))
        return cls(pool, lists, fusion)

    @property
    def present(self) -> NDArray[np.bool_]:
        """[candidates, runs] whether the run has the document."""
        return self.pool.present

    def scores(self) -> NDArray[np.float64]:
        """[candidates, runs] normalised; where a run lacks the document, what it is to have there."""
        rule, normalisation = MISSING[self.fusion.chosen_missing], self.fusion.chosen_normalisation
        scores = np.empty(self.pool.rows.shape)
        for run, lists in enumerate(self.lists):
            rows = self.pool.rows[:, run]
            # Behind the run's own, one for each query.
            values = np.concatenate([normalisation.values(lists), rule(normalisation, lists)])
            scores[:, run] = values[np.where(rows >= 0, rows, len(lists.scores) + self.pool.queries)]
        return scores

    def ranks(self) -> NDArray[np.float64]:
        """[candidates, runs] from 1 on; infinite where a run lacks the document."""
        ranks = np.empty(self.pool.rows.shape)
        for run, lists in enumerate(self.lists):
            ranks[:, run] = np.concatenate([lists.ranks, [np.inf]])[self.pool.rows[:, run]]
        return ranks

    def lengths(self) -> NDArray[np.int64]:
        """[candidates, runs] documents that the run has for the candidate's query."""
        return np.stack([lists.lengths[self.pool.queries] for lists in self.lists], axis=1)

    def candidates(self) -> NDArray[np.int64]:
        """[candidates] how many the candidate's query has."""
        return np.asarray(self.pool.counts[self.pool.queries])


def _require_minimum(run: int, table: RunTable, lists: ScoredLists) -> None:
    if lists.theoretical_minimum is None:
        return
    below = np.flatnonzero((lists.lengths > 0) & (lists.lowest < lists.theoretical_minimum))
    if len(below):
        query = int(below[0])
        raise TasbError(
            where=f"run {run + 1}, query {table.qids[query]}",
            expected=f"no score below {lists.theoretical_minimum}, the lowest possible",
            found=f"{lists.lowest[query]}",
            do="give the lowest score that the run's model can give, or another normalisation",
        )
