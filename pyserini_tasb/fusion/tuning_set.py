"""Judged queries with their candidates, on which any weights can be tried without fusing again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.evaluation.measures import parse_measures
from pyserini_tasb.formats.named import same_ids_advice
from pyserini_tasb.formats.text_columns import unpack
from pyserini_tasb.fusion.candidates import Candidates
from pyserini_tasb.fusion.fuse import aligned_blocks, examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run_table import RunTable
    from pyserini_tasb.fusion.methods import Fusion

    Ranks = NDArray[np.float64]
    Grades = NDArray[np.int64]
    Values = NDArray[np.float64]
    RankedMeasure = Callable[[Ranks, Grades, Grades], Values]


CELLS_AT_ONCE = 1 << 22  # candidates times weights


@dataclass(frozen=True, eq=False)
class TuningSet:
    """All queries of some qrels, or of several.

    Attributes:
        qids: sorted within each qrels.
        queries: the candidates of each of `qids`; None where no run has candidates.
        fusion: the choices made, weights apart.
        depth: the most documents that a run has for any query.
    """

    qids: tuple[str, ...]
    queries: Sequence[JudgedQuery | None]
    fusion: Fusion
    depth: int

    @classmethod
    def of(cls, tables: Sequence[RunTable], qrels: QrelsDict, fusion: Fusion) -> TuningSet:
        """The queries of `qrels`, with what the runs have for them.

        Raises:
            TasbError: the method's score is no weighted sum, or no query is judged.
        """
        fusion.require_fits(len(tables))
        if not fusion.chosen_method.is_weighted_sum:
            raise TasbError(
                expected="a method whose score is a weighted sum: linear, convex, combsum, rrf, borda",
                found=f"`{fusion.method}`",
                do=f"choose another, e.g. {argument('set', 'method=linear')}",
            )
        wanted = [
            table.taken(np.array([number for number, qid in enumerate(table.qids) if qid in qrels], dtype=np.int64))
            for table in tables
        ]
        found: dict[str, JudgedQuery] = {}
        for block in aligned_blocks(wanted, fusion.depth):
            found.update(_judged(block, qrels, fusion))
        if not found:
            ran = [qid for table in tables for qid in table.qids]
            raise TasbError(
                expected=f"queries of the qrels in the runs: {examples(list(qrels))}",
                found=f"none of them; the runs have {examples(ran)}",
                do=same_ids_advice(ran, qrels, "give the topics' own qrels"),
            )
        qids = tuple(sorted(qrels))
        deepest = max(int(table.lengths.max(initial=0)) for table in wanted)
        depth = deepest if fusion.depth is None else min(deepest, fusion.depth)
        return cls(qids, [found.get(qid) for qid in qids], fusion, depth)

    @classmethod
    def joined(cls, sets: Sequence[TuningSet]) -> TuningSet:
        """One set of several that were made with the same choices.

        Raises:
            TasbError: a query is in two of them.
        """
        qids = tuple(qid for each in sets for qid in each.qids)
        twice = sorted(qid for qid, times in Counter(qids).items() if times > 1)
        if twice:
            raise TasbError(
                expected="each query in one of the qrels only",
                found=f"{len(twice)} in two: {', '.join(twice[:3])}",
                do="give qrels of different topics",
            )
        queries = [query for each in sets for query in each.queries]
        return cls(qids, queries, sets[0].fusion, max(each.depth for each in sets))

    def weighable(self, measure: RankedMeasure) -> NDArray[np.bool_]:
        """The queries on which weights matter: some run has a document that counts as relevant.

        Args:
            measure: the measure, which also says which grades count as relevant.
        """
        return np.array([query is not None and query.counts_for(measure) for query in self.queries], dtype=bool)

    def values(self, weights: NDArray[np.float64], measure: RankedMeasure) -> NDArray[np.float64]:
        """The measure of each query under each choice of weights, [queries, weights]; 0 without candidates.

        Args:
            weights: [weights, runs], as a user gives them.
            measure: the measure.
        """
        shares = np.stack([self.fusion.chosen_method.shares(row) for row in weights.tolist()])
        values = np.zeros((len(self.queries), len(shares)))
        for number, query in enumerate(self.queries):
            if query is None or not len(query.relevant):
                continue
            step = max(1, CELLS_AT_ONCE // len(query.contributions))
            for start in range(0, len(shares), step):
                ranks = query.ranks(shares[start : start + step], self.fusion.hits)
                values[number, start : start + step] = measure(ranks, query.grades, query.judged)
        return values


def _judged(tables: Sequence[RunTable], qrels: QrelsDict, fusion: Fusion) -> Iterator[tuple[str, JudgedQuery]]:
    candidates = Candidates.of(tables, fusion)
    pool, contributions = candidates.pool, fusion.chosen_method.contributions(candidates)
    ends = np.cumsum(pool.counts)
    for qid, start, end in zip(tables[0].qids, (ends - pool.counts).tolist(), ends.tolist(), strict=True):
        grades_of = qrels[qid]
        docids = [docid.decode() for docid in unpack(pool.docids[start:end]).tolist()] if end > start else []
        grades = np.array([grades_of.get(docid, 0) for docid in docids], dtype=np.int64)
        relevant = np.flatnonzero(grades > 0)
        judged = np.array([grade for grade in grades_of.values() if grade > 0], dtype=np.int64)
        if docids:
            yield qid, JudgedQuery(contributions[start:end], relevant, grades[relevant], judged)


@dataclass(frozen=True, eq=False)
class JudgedQuery:
    """The candidates of one query.

    Attributes:
        contributions: [candidates, runs] before weights; by docid, descending.
        relevant: which candidates have a grade above 0, [retrieved relevant].
        grades: theirs, [retrieved relevant].
        judged: all grades above 0 of the qrels, [judged].
    """

    contributions: NDArray[np.float64]
    relevant: NDArray[np.int64]
    grades: NDArray[np.int64]
    judged: NDArray[np.int64]

    def counts_for(self, measure: RankedMeasure) -> bool:
        """True if the measure is above 0 where all relevant documents that were retrieved share the first rank."""
        return bool(len(self.relevant)) and measure(np.ones((len(self.grades), 1)), self.grades, self.judged).item() > 0

    def ranks(self, weights: NDArray[np.float64], depth: int | None) -> NDArray[np.float64]:
        """Ranks of the relevant documents, [retrieved relevant, weights]; infinite below `depth`.

        Args:
            weights: [weights, runs], as they are multiplied.
            depth: documents kept; None is all.
        """
        fused = weights[:, :1] * self.contributions[:, 0]
        for run in range(1, weights.shape[1]):
            fused += weights[:, run : run + 1] * self.contributions[:, run]
        # As trec_eval, which keeps scores in single precision; docids of equal scores are in its order already.
        order = np.argsort(-fused.astype(np.float32), axis=1, kind="stable")
        all_ranks = np.empty(order.shape)
        np.put_along_axis(all_ranks, order, np.arange(1.0, order.shape[1] + 1)[None, :], axis=1)
        ranks = all_ranks[:, self.relevant].T
        if depth is not None:
            ranks[ranks > depth] = np.inf
        return ranks


def ranked_measure(text: str) -> RankedMeasure:
    """A measure by its ir-measures name (nDCG, AP, R, P or RR, with a cutoff and `rel`), for many weights at once.

    Raises:
        TasbError: another measure, or none at all.
    """
    measure: Any = parse_measures([text])[0]
    known = set(measure.params) <= {"cutoff", "rel", "dcg"} and measure.params.get("dcg", "log2") == "log2"
    if measure.NAME not in _MEASURES or not known:
        raise TasbError(
            expected=f"a measure that can be tuned on: {', '.join(_MEASURES)}, with @cutoff and (rel=…)",
            found=f"`{text}`",
            do=f"e.g. {argument('measure', 'nDCG@10')} or RR@10",
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
