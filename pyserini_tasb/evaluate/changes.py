"""The queries on which two runs differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.evaluate.evaluation import RunEvaluation


@dataclass(frozen=True)
class QueryChange:
    """One query's value in a run and in the baseline; `topic` is its text, None where that is not known."""

    qid: str
    topic: str | None
    value: float
    baseline: float


def largest_changes(
    run: RunEvaluation, baseline: RunEvaluation, measure: str, count: int, topics: Mapping[str, str] | None = None
) -> list[QueryChange]:
    """The `count` queries with the largest differences, gains and losses alike, the largest first.

    Queries without a difference are left out; equal differences stay in the order of the qrels.
    """
    values, others = run.per_query[measure], baseline.per_query[measure]
    differences = np.abs(values - others)
    order = [index for index in np.argsort(-differences, kind="stable")[:count].tolist() if differences[index]]
    qids = run.queries
    return [
        QueryChange(qids[index], (topics or {}).get(qids[index]), float(values[index]), float(others[index]))
        for index in order
    ]
