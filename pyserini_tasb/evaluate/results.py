"""What `tasb evaluate` found, before it is printed in one way or another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.evaluate.changes import QueryChange
    from pyserini_tasb.evaluate.comparison import Tests
    from pyserini_tasb.evaluate.evaluation import RunEvaluation


@dataclass(frozen=True)
class Results:
    """All runs by all measures, and what was asked for besides.

    Attributes:
        qrels: what the judgments are called.
        evaluations: one for each run, at least one.
        test: of all comparisons, a key of `significance.TESTS`.
        baseline: the run that the others are compared with; None if each is compared with each, or none with any.
        tests: of all comparisons; empty if none were asked for.
        changes: run → measure → the queries that changed most against the baseline; empty if not asked for.
        cutoff: documents of each query that `unjudged` is of.
        unjudged: run → share, 0 to 1, of its documents without a judgment; empty if that means nothing here.
        dropped: run → how many of its queries lost their own document; empty if it was not to be dropped.
        own_relevant: how many queries have their own document relevant in the qrels; 0 if it was not to be dropped.
    """

    qrels: str
    evaluations: Sequence[RunEvaluation]
    test: str
    baseline: str | None
    tests: Tests
    changes: Mapping[str, Mapping[str, Sequence[QueryChange]]]
    cutoff: int
    unjudged: Mapping[str, float]
    dropped: Mapping[str, int]
    own_relevant: int

    @property
    def measures(self) -> list[str]:
        """Names, in the order of the columns."""
        return list(self.evaluations[0].overall)

    @property
    def names(self) -> list[str]:
        """Of the runs, in the order of the rows."""
        return [evaluation.name for evaluation in self.evaluations]
