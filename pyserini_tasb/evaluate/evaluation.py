"""A run against qrels, with the numbers trec_eval would print."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ir_measures
import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.measures import parse_measures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ir_measures import Measure
    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.qrels import Qrels
    from pyserini_tasb.evaluate.runs import Run


@dataclass(frozen=True, eq=False)
class RunEvaluation:
    """One run's values of each measure, by the measure's ir-measures name.

    Attributes:
        name: what the run is called in tables.
        queries: every judged query, in the order of the qrels.
        per_query: measure → float64 array, one value for each of `queries`.
        overall: measure → what trec_eval prints for `all`: the mean over `queries` (the sum, for counts).
        missing: judged queries for which the run has no document; they count as 0, as under `trec_eval -c`.
        without_judgments: the run's queries that the qrels lack; they count nowhere.
        depth: the most documents the run has for any query.
    """

    name: str
    queries: tuple[str, ...]
    per_query: Mapping[str, NDArray[np.float64]]
    overall: Mapping[str, float]
    missing: tuple[str, ...]
    without_judgments: tuple[str, ...]
    depth: int


def evaluate_run(run: Run, qrels: Qrels, measures: Sequence[str | Measure], *, name: str = "run") -> RunEvaluation:
    """Score a run as trec_eval does: `-c`, linear gain, ties by score and then docid, both descending.

    Measures that trec_eval lacks come from ir-measures' other providers, whose ties may fall otherwise.

    Args:
        run: qid → docid → score.
        qrels: qid → docid → grade.
        measures: ir-measures' names, e.g. `nDCG@10` or `AP(rel=2)@1000`.
        name: what to call the run, in the result and in errors.

    Raises:
        TasbError: no query in common, or a measure that is misspelt or cannot be computed here.
    """
    parsed = parse_measures(measures)
    run = {qid: ranking for qid, ranking in run.items() if ranking}
    if run.keys().isdisjoint(qrels):
        raise TasbError(
            where=name,
            expected=f"queries of the qrels: {_examples(qrels)}",
            found=f"none of them; the run has {_examples(run) or 'no document'}",
            do="check that run and qrels belong to the same topics",
        )
    queries = tuple(qrels)
    per_query = _values(parsed, qrels, run, queries)
    return RunEvaluation(
        name=name,
        queries=queries,
        per_query={str(measure): values for measure, values in per_query.items()},
        overall={str(measure): _aggregate(measure, values) for measure, values in per_query.items()},
        missing=tuple(qid for qid in queries if qid not in run),
        without_judgments=tuple(qid for qid in run if qid not in qrels),
        depth=max(map(len, run.values())),
    )


def _values(
    measures: Sequence[Measure], qrels: Qrels, run: Run, queries: tuple[str, ...]
) -> dict[Measure, NDArray[np.float64]]:
    # For RR with a cutoff ir-measures turns to its MS MARCO provider, which breaks ties by ascending docid. trec_eval's
    # own RR, cut off afterwards, is `trec_eval -M 10 -m recip_rank`.
    computed = {measure: _without_cutoff(measure) if measure.NAME == "RR" else measure for measure in measures}
    values: dict[Measure, dict[str, float]] = {measure: {} for measure in computed.values()}
    by_trec_eval = [measure for measure in values if ir_measures.pytrec_eval.supports(measure)]
    by_others = [measure for measure in values if measure not in by_trec_eval]
    for provider, provided, judged in (
        (ir_measures.pytrec_eval, by_trec_eval, _without_negative_alone(qrels)),
        (ir_measures.DefaultPipeline, by_others, qrels),
    ):
        if provided:
            for metric in _metrics(provider, provided, judged, run):
                values[metric.measure][metric.query_id] = float(metric.value)
    arrays = {measure: np.array([values[source][qid] for qid in queries]) for measure, source in computed.items()}
    for measure, array in arrays.items():
        if measure.NAME == "RR" and "cutoff" in measure.params:
            array[array < 1 / measure["cutoff"]] = 0
    return arrays


def _without_negative_alone(qrels: Qrels) -> Qrels:
    """The same, but 0 where all of a query's grades are negative.

    pytrec_eval (0.5.11) does not come back from these at times. trec_eval itself gives what it gives for 0.
    """
    negative = [qid for qid, judged in qrels.items() if max(judged.values(), default=0) < 0]
    return {**qrels, **{qid: dict.fromkeys(qrels[qid], 0) for qid in negative}}


def _without_cutoff(measure: Measure) -> Measure:
    return type(measure)(**{key: value for key, value in measure.params.items() if key != "cutoff"})


def _metrics(provider: Any, measures: list[Measure], qrels: Qrels, run: Run) -> list[ir_measures.Metric]:
    try:
        return list(provider.iter_calc(measures, qrels, run))
    except (ValueError, TypeError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise TasbError(
            expected="measures that ir-measures can compute on this machine",
            found=f"{', '.join(map(str, measures))}: {error}",
            do="leave the measure out, or install what ir-measures asks for",
        ) from error


def _aggregate(measure: Measure, values: NDArray[np.float64]) -> float:
    aggregator = measure.aggregator()
    for value in values:
        aggregator.add(value)
    return float(aggregator.result())


def _examples(by_qid: Mapping[str, object]) -> str:
    first = list(by_qid)[:3]
    return ", ".join(first) + (f", … ({len(by_qid)} queries)" if len(by_qid) > len(first) else "")
