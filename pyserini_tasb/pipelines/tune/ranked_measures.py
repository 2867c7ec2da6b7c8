"""Measures from the ranks of the relevant documents alone, for many rankings of one query at once.

The values are those of trec_eval, and so of `tasb evaluate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.measures import parse_measures

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Ranks = NDArray[np.float64]
    Grades = NDArray[np.int64]
    Values = NDArray[np.float64]
    # Ranks [retrieved relevant, rankings], from 1 on and infinite below the depth; their grades [retrieved relevant];
    # all grades of the query's qrels [judged]. Gives [rankings].
    RankedMeasure = Callable[[Ranks, Grades, Grades], Values]


def ranked_measure(text: str) -> RankedMeasure:
    """A measure by its ir-measures name: nDCG, AP, R, P or RR, with a cutoff and `rel`.

    Raises:
        TasbError: another measure, or none at all.
    """
    measure: Any = parse_measures([text])[0]
    known = set(measure.params) <= {"cutoff", "rel", "dcg"} and measure.params.get("dcg", "log2") == "log2"
    if measure.NAME not in _MEASURES or not known:
        raise TasbError(
            expected=f"a measure that can be tuned on: {', '.join(_MEASURES)}, with @cutoff and (rel=…)",
            found=f"`{text}`",
            do="e.g. --measure nDCG@10 or RR@10",
        )
    cutoff, least = float(measure.params.get("cutoff", np.inf)), int(measure.params.get("rel", 1))
    function = _MEASURES[measure.NAME]

    def value(ranks: Ranks, grades: Grades, judged: Grades) -> Values:
        relevant = grades >= least
        return function(ranks[relevant], grades[relevant], judged[judged >= least], cutoff)

    return value


def _ndcg(ranks: Ranks, grades: Grades, judged: Grades, cutoff: float) -> Values:
    ideal = np.sort(judged)[::-1]
    places = np.arange(1, len(ideal) + 1)
    best = (ideal / np.log2(1 + places))[places <= cutoff].sum()
    gains = np.where(ranks <= cutoff, grades[:, None] / np.log2(1 + ranks), 0)
    return np.asarray(gains.sum(axis=0) / best if best else np.zeros(ranks.shape[1]))


def _average_precision(ranks: Ranks, _grades: Grades, judged: Grades, cutoff: float) -> Values:
    ordered = np.sort(ranks, axis=0)
    precisions = np.arange(1, len(ordered) + 1)[:, None] / ordered
    return np.asarray(np.where(_within(ordered, cutoff), precisions, 0).sum(axis=0) / max(len(judged), 1))


def _recall(ranks: Ranks, _grades: Grades, judged: Grades, cutoff: float) -> Values:
    return np.asarray(_within(ranks, cutoff).sum(axis=0) / max(len(judged), 1))


def _precision(ranks: Ranks, _grades: Grades, _judged: Grades, cutoff: float) -> Values:
    return np.asarray(_within(ranks, cutoff).sum(axis=0) / cutoff)


def _reciprocal_rank(ranks: Ranks, _grades: Grades, _judged: Grades, cutoff: float) -> Values:
    first = ranks.min(axis=0, initial=np.inf)
    return np.asarray(np.where(first <= cutoff, 1 / first, 0))


def _within(ranks: Ranks, cutoff: float) -> NDArray[np.bool_]:
    return np.asarray((ranks <= cutoff) & np.isfinite(ranks))


_MEASURES: dict[str, Callable[[Ranks, Grades, Grades, float], Values]] = {
    "nDCG": _ndcg,
    "AP": _average_precision,
    "R": _recall,
    "P": _precision,
    "RR": _reciprocal_rank,
}
