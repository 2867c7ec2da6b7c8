"""The queries for tuning and the queries for testing, which never overlap by mistake."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.lines import LineFaults, column_lines, open_lines, split_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.fusion.tuning_set import RankedMeasure, TuningSet
    from pyserini_tasb.fusion.weight_search import Search

    Queries = NDArray[np.int64]
    PerQuery = Callable[[NDArray[np.float64]], NDArray[np.float64]]


FOLDS = 5
WEIGHTS_REMEMBERED = 8


def tuned_by_folds(train: Split, folds: Sequence[Queries], search: Search, runs: int) -> Outcome:
    """The weights tuned on all queries, and the measure in a cross-validation."""
    weights = train.best(search, runs)
    tuned = float(train.mean(weights[None, :])[0])
    held_out = cross_validated(train.per_query, folds, search, runs)
    return Outcome(weights, tuned, held_out.mean, tuned, held_out.weights)


def tuned_and_tested(train: Split, test: Split, search: Search, runs: int) -> Outcome:
    """The weights tuned on some queries, and the measure on others."""
    weights, best = train.best(search, runs), test.best(search, runs)
    return Outcome(
        weights,
        float(train.mean(weights[None, :])[0]),
        float(test.mean(weights[None, :])[0]),
        float(test.mean(best[None, :])[0]),
        np.zeros((0, runs)),
    )


@dataclass(frozen=True, eq=False)
class Outcome:
    """The weights that tuning found, and the measure with them.

    Attributes:
        weights: the chosen weights, shape (runs,).
        tuned_value: the measure's mean over the queries tuned on.
        held_out_value: the mean over queries that had no part in the choice.
        own_best: what tuning on those very queries would have shown.
        fold_weights: [folds, runs] of a cross-validation; empty otherwise.
    """

    weights: NDArray[np.float64]
    tuned_value: float
    held_out_value: float
    own_best: float
    fold_weights: NDArray[np.float64]

    @property
    def gap(self) -> float:
        """How much higher the measure looks if weights are tuned on the test queries themselves."""
        return self.own_best - self.held_out_value


@dataclass(frozen=True, eq=False)
class Split:
    """Some queries of a set, to tune on or to test on.

    Attributes:
        per_query: the measure of each query of the set under weights.
        queries: the numbers of those meant.
    """

    per_query: PerQuery
    queries: Queries

    def best(self, search: Search, runs: int) -> NDArray[np.float64]:
        """The best weights for them, shape (runs,)."""
        return best_weights(self.per_query, self.queries, search, runs)

    def mean(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of the measure under each choice of weights, [weights]."""
        return np.asarray(self.per_query(weights)[self.queries].mean(axis=0))


def best_weights(per_query: PerQuery, queries: Queries, search: Search, runs: int) -> NDArray[np.float64]:
    """The best weights for the mean over some queries, shape (runs,)."""
    return search.best(lambda weights: per_query(weights)[queries].mean(axis=0), runs)


def cached(queries: TuningSet, measure: RankedMeasure) -> PerQuery:
    """The measure of each query under weights; folds ask for the same grid again and again."""

    @functools.lru_cache(maxsize=WEIGHTS_REMEMBERED)
    def values(weights: bytes, runs: int) -> NDArray[np.float64]:
        return queries.values(np.frombuffer(weights).reshape(-1, runs), measure)

    return lambda weights: values(np.ascontiguousarray(weights).tobytes(), weights.shape[1])


def cross_validated(per_query: PerQuery, folds: Sequence[Queries], search: Search, runs: int) -> HeldOut:
    """The measure of each fold's queries under the weights found on all the others."""
    values = np.zeros(sum(map(len, folds)))
    weights = []
    for number, tested in enumerate(folds):
        others = np.concatenate([fold for other, fold in enumerate(folds) if other != number])
        chosen = best_weights(per_query, np.sort(others), search, runs)
        values[tested] = per_query(chosen[None, :])[tested, 0]
        weights.append(chosen)
    return HeldOut(np.stack(weights), values)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The measure on queries that had no part in the choice of their weights.

    Attributes:
        weights: the weights of each fold, [folds, runs].
        values: the value of each test query, under its own fold's weights.
    """

    weights: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean over the queries."""
        return float(self.values.mean())


def shuffled_folds(queries: int, folds: int, seed: int) -> list[Queries]:
    """Query numbers in parts of about equal size, shuffled by the seed.

    Raises:
        TasbError: fewer than two queries or parts, or more parts than queries.
    """
    _require_two(queries)
    if not 2 <= folds <= queries:
        raise TasbError(
            expected=f"2 to {queries} folds, as there are {queries} queries",
            found=f"{folds}",
            do=f"e.g. {argument('folds', min(FOLDS, queries))}",
        )
    return np.array_split(np.random.default_rng(seed).permutation(queries), folds)


def _require_two(queries: int) -> None:
    if queries < 2:
        raise TasbError(
            expected="two judged queries or more: some to tune on, and others to test on",
            found=f"{queries}",
            do=f"give judgments of more topics, or other topics to test on ({argument('test_qrels')} and "
            f"{argument('test_runs')})",
        )


def require_relevant(weighable: NDArray[np.bool_], queries: Queries, *, use: str, qrels: str, measure: str) -> None:
    """Refuse queries on which all weights give the same value, because the runs have no relevant document for them.

    Args:
        weighable: True for each query of the set for which some run has a relevant document.
        queries: the numbers of those meant.
        use: what they are for: `tune` or `test`.
        qrels: the name of the judgments.
        measure: which says what grades count.

    Raises:
        TasbError: none of them has one.
    """
    if not weighable[queries].any():
        raise TasbError(
            where=qrels,
            expected=f"relevant documents in the runs for some of the {len(queries)} queries to {use} on",
            found=f"none that counts for {measure}, so that all weights give the same value",
            do="check that the judgments are of these topics and this collection, and that they have grades above 0",
        )


def require_relevant_in_two(
    weighable: NDArray[np.bool_], folds: Sequence[Queries], *, qrels: str, measure: str
) -> None:
    """Refuse folds if one fold has all queries on which weights matter; the arguments are those of `require_relevant`.

    Raises:
        TasbError: without that fold there is nothing to tune on.
    """
    if sum(bool(weighable[fold].any()) for fold in folds) < 2:
        raise TasbError(
            where=qrels,
            expected="relevant documents in the runs for queries of two folds or more",
            found=f"{weighable.sum()} such queries for {measure}, in one fold; without it there is nothing to tune on",
            do=f"give judgments of more topics, or other topics to test on ({argument('test_qrels')} and "
            f"{argument('test_runs')})",
        )


def train_and_test(qids: Sequence[str], path: Path, *, allow_overlap: bool) -> tuple[Queries, Queries]:
    """Numbers of the queries that a file names, and of the others (of all, where overlap is allowed).

    Raises:
        TasbError: the file cannot be read, names a query that is not judged, or leaves nothing on one side.
    """
    named = _read_qids(path)
    if not allow_overlap:
        _require_two(len(qids))
    unknown = sorted(named - set(qids))
    trained = np.flatnonzero([qid in named for qid in qids])
    tested = np.arange(len(qids)) if allow_overlap else np.flatnonzero([qid not in named for qid in qids])
    if unknown or not len(tested):
        found = (
            f"{', '.join(unknown[:3])}, not judged" if unknown else "all of them, so that no query is left for testing"
        )
        raise TasbError(where=str(path), expected="some of the judged queries", found=found, do="name fewer queries")
    return trained, tested


def _read_qids(path: Path) -> set[str]:
    qids: set[str] = set()
    faults = LineFaults(path, expected="one qid")
    with open_lines(path) as lines:
        for number, line in enumerate(column_lines(lines), 1):
            try:
                columns = split_columns(line)
                if len(columns) > 1:
                    faults.add(number, f"{len(columns)} columns")
                qids.update(columns)
            except ValueError as error:
                faults.add(number, str(error))
    faults.finish(records=len(qids))
    return qids


def require_apart(trained: Sequence[str], tested: Sequence[str], *, allow_overlap: bool) -> None:
    """Refuse to report on queries that were tuned on.

    Raises:
        TasbError: a query is in both.
    """
    both = sorted(set(trained) & set(tested))
    if both and not allow_overlap:
        raise TasbError(
            expected="other queries to test on than to tune on",
            found=f"{len(both)} in both: {', '.join(both[:3])}",
            do=f"give other qrels, or {argument('allow_overlap', True)} if you want that",
        )
