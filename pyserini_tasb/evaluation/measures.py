"""The measures of a run, named as in ir-measures, with the numbers that trec_eval prints."""

from __future__ import annotations

import difflib
import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ir_measures
import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import FAULTS_SHOWN
from pyserini_tasb.formats.named import canonical_name, same_ids_advice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ir_measures import Measure
    from numpy.typing import NDArray

    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run_table import RunDict


def evaluate_run(
    run: RunDict, qrels: QrelsDict, measures: Sequence[str | Measure], *, name: str = "run"
) -> RunEvaluation:
    """Score a run as trec_eval does: `-c`, linear gain, ties by score and then docid, both descending.

    Measures that trec_eval lacks come from ir-measures' other providers, whose ties may fall otherwise.

    Args:
        run: qid → docid → score.
        qrels: qid → docid → grade.
        measures: ir-measures' names, e.g. `nDCG@10` or `AP(rel=2)@1000`.
        name: the run's name in the result and in errors.

    Raises:
        TasbError: the run and the qrels have no query in common, or a measure is misspelt or cannot be computed on this
            machine.
    """
    parsed = parse_measures(measures)
    run = {qid: ranking for qid, ranking in run.items() if ranking}
    if run.keys().isdisjoint(qrels):
        raise TasbError(
            where=name,
            expected=f"queries of the qrels: {_examples(qrels)}",
            found=f"none of them; the run has {_examples(run) or 'no document'}",
            do=same_ids_advice(run, qrels, "check that run and qrels belong to the same topics"),
        )
    queries = tuple(qrels)
    judged = {qid: run[qid] for qid in queries if qid in run}
    per_query = _values(parsed, qrels, judged, queries)
    return RunEvaluation(
        name=name,
        queries=queries,
        per_query={str(measure): values for measure, values in per_query.items()},
        overall={str(measure): _aggregate(measure, values) for measure, values in per_query.items()},
        missing=tuple(qid for qid in queries if qid not in run),
        without_judgments=tuple(qid for qid in run if qid not in qrels),
        depth=max(map(len, run.values())),
    )


@dataclass(frozen=True, eq=False)
class RunEvaluation:
    """One run's values of each measure, by the measure's ir-measures name.

    Attributes:
        name: the run's name in tables.
        queries: every judged query, in the order of the qrels.
        per_query: measure → float64 array, one value for each of `queries`.
        overall: measure → what trec_eval prints for `all`: the mean over `queries` (the sum, for counts).
        missing: judged queries for which the run has no document; they count as 0, as under `trec_eval -c`.
        without_judgments: the run's queries that the qrels lack; they do not count.
        depth: the most documents the run has for any query.
    """

    name: str
    queries: tuple[str, ...]
    per_query: Mapping[str, NDArray[np.float64]]
    overall: Mapping[str, float]
    missing: tuple[str, ...]
    without_judgments: tuple[str, ...]
    depth: int


def _values(
    measures: Sequence[Measure], qrels: QrelsDict, run: RunDict, queries: tuple[str, ...]
) -> dict[Measure, NDArray[np.float64]]:
    # For RR with a cutoff ir-measures turns to its MS MARCO provider, which breaks ties by ascending docid. trec_eval's
    # own RR, cut off afterwards, is `trec_eval -M 10 -m recip_rank`.
    computed = {measure: _without_cutoff(measure) if measure.NAME == "RR" else measure for measure in measures}
    values: dict[Measure, dict[str, float]] = {}
    for provider, provided in _by_provider(dict.fromkeys(computed.values())).items():
        if provider is ir_measures.pytrec_eval:
            values |= _computed_by(provider, provided, _without_negative_alone(qrels), run)
        elif provider is ir_measures.runtime:  # functions of the caller's own, which may know what the ids mean
            values |= _computed_by(provider, provided, qrels, run)
        else:
            values |= _with_plain_ids(provider, provided, qrels, run)
    arrays = {measure: np.array([values[source][qid] for qid in queries]) for measure, source in computed.items()}
    for measure, array in arrays.items():
        if measure.NAME == "RR" and "cutoff" in measure.params:
            array[array < 1 / measure["cutoff"]] = 0
    return arrays


def _by_provider(measures: Iterable[Measure]) -> dict[Any, list[Measure]]:
    """Each measure with the provider that computes it: pytrec_eval where it can, else the first of ir-measures'.

    Raises:
        TasbError: some measures cannot be computed on this machine; all are named.
    """
    providers: dict[Any, list[Measure]] = {}
    unsupported = []
    for measure in measures:
        able = [
            each for each in (ir_measures.pytrec_eval, *ir_measures.DefaultPipeline.providers) if each.supports(measure)
        ]
        provider = next((each for each in able if each.is_available()), None)
        if provider is None:
            needed = " or ".join(f"{each.NAME} ({each.install_instructions()})" for each in able)
            unsupported.append(
                f"{measure}: {f'needs {needed}' if able else 'nothing computes it with these parameters'}"
            )
        else:
            providers.setdefault(provider, []).append(measure)
    if unsupported:
        raise TasbError(
            expected="measures that ir-measures can compute on this machine",
            found="; ".join(unsupported),
            do="leave these out, or install what they need",
        )
    return providers


def _with_plain_ids(
    provider: Any, measures: Sequence[Measure], qrels: QrelsDict, run: RunDict
) -> dict[Measure, dict[str, float]]:
    """A provider's values, with numbers in place of ids: gdeval reads `P-1` as 1, and splits docids at white space.

    The provider gets only queries of the run, because some providers refuse others; queries that the run lacks have
    the measure's default. Docids are numbered in their order, which decides ties.
    """
    plain_qrels, plain_run = {}, {}
    for number, (qid, ranking) in enumerate(run.items(), 1):
        docids = sorted({*qrels[qid], *ranking})
        numbers = {docid: f"{place:09}" for place, docid in enumerate(docids, 1)}
        plain_qrels[str(number)] = {numbers[docid]: grade for docid, grade in qrels[qid].items()}
        plain_run[str(number)] = {numbers[docid]: score for docid, score in ranking.items()}
    computed = _computed_by(provider, measures, plain_qrels, plain_run, names=dict(zip(plain_run, run, strict=True)))
    return {measure: {**dict.fromkeys(qrels, measure.DEFAULT), **values} for measure, values in computed.items()}


def _without_negative_alone(qrels: QrelsDict) -> QrelsDict:
    """The same, but 0 where all of a query's grades are negative.

    pytrec_eval (0.5.11) sometimes never returns from these. trec_eval itself gives the value for 0.
    """
    negative = [qid for qid, judged in qrels.items() if max(judged.values(), default=0) < 0]
    return {**qrels, **{qid: dict.fromkeys(qrels[qid], 0) for qid in negative}}


def _without_cutoff(measure: Measure) -> Measure:
    return type(measure)(**{key: value for key, value in measure.params.items() if key != "cutoff"})


def _computed_by(
    provider: Any, measures: Sequence[Measure], qrels: QrelsDict, run: RunDict, names: Mapping[str, str] | None = None
) -> dict[Measure, dict[str, float]]:
    """Measure → qid → value, for exactly the queries of the qrels.

    Args:
        provider: a provider of ir-measures.
        measures: measures that it supports.
        qrels: qid → docid → grade.
        run: qid → docid → score.
        names: qid → the name of the query in the result and in errors; by default the qid.

    Raises:
        TasbError: the provider fails, or gives values for other queries, for one twice, or not for all.
    """
    names = names or dict(zip(qrels, qrels, strict=True))
    values: dict[Measure, dict[str, float]] = {measure: {} for measure in measures}
    wrong = []
    try:
        for metric in provider.iter_calc(measures, qrels, run):
            qid = names.get(metric.query_id)
            if qid is None:
                wrong.append(f"{metric.measure} of a query `{metric.query_id}`, which it was not given")
            elif qid in values[metric.measure]:
                wrong.append(f"{metric.measure} of query {qid} twice")
            else:
                values[metric.measure][qid] = float(metric.value)
    except Exception as error:  # whatever a provider's own code raises
        raise TasbError(
            expected="measures that ir-measures can compute on this machine",
            found=f"{', '.join(map(str, measures))}: {str(error) or type(error).__name__}",
            do="leave the measure out, or install what ir-measures asks for",
        ) from error
    for measure, known in values.items():
        if len(known) < len(names):
            wrong.append(f"{measure} has no value for {_examples([qid for qid in names.values() if qid not in known])}")
    if wrong:
        raise TasbError(
            expected=f"one value for each query, from ir-measures' provider {provider.NAME}",
            found="; ".join(wrong[:FAULTS_SHOWN]) + ("; …" if len(wrong) > FAULTS_SHOWN else ""),
            do="leave the measure out",
        )
    return values


def _aggregate(measure: Measure, values: NDArray[np.float64]) -> float:
    aggregator = measure.aggregator()
    for value in values:
        aggregator.add(value)
    return float(aggregator.result())


def _examples(by_qid: Collection[str]) -> str:
    first = list(by_qid)[:3]
    return ", ".join(first) + (f", … ({len(by_qid)} queries)" if len(by_qid) > len(first) else "")


def parse_measures(measures: Iterable[str | Measure]) -> list[Measure]:
    """Measures from their ir-measures names, e.g. `nDCG@10` or `AP(rel=2)@1000`, each once.

    Raises:
        TasbError: names that mean nothing or parameters out of range; all are named, with the likely spelling.
    """
    parsed: dict[Measure, None] = {}
    found = []
    for measure in measures:
        try:
            parsed[_parse(measure)] = None
        except (ValueError, NameError, AssertionError) as error:
            # Of a missing parameter ir-measures prints a placeholder object.
            why = re.sub(r"=<object .*?>", " is missing", str(error))
            found.append(f"`{measure}`: {why}{_hint(str(measure))}")
    if found:
        raise TasbError(
            expected="measures as ir-measures writes them, separated by spaces: nDCG@10 AP(rel=2)@1000 R@1000 RR@10",
            found="\n    ".join(["", *found]),
            do="see https://ir-measur.es for names and parameters",
        )
    return list(parsed)


def _parse(text: str | Measure) -> Measure:
    measure = ir_measures.parse_measure(text) if isinstance(text, str) else text
    measure.validate_params()  # type: ignore[no-untyped-call]
    # ir-measures lets these through, and the C code behind it then ends the whole process.
    for parameter in ("cutoff", "rel"):
        value = measure.params.get(parameter, 1)
        if isinstance(value, bool) or value < 1:
            raise ValueError(f"{parameter} must be 1 or more")
    return measure


def _hint(text: str) -> str:
    """A guess at what was meant: trec_eval's name for a measure, or a misspelt one."""
    try:
        return f"; ir-measures writes it `{ir_measures.parse_trec_measure(text)[0]}`"
    except ValueError:
        pass
    spelt = text[: len(text) - len(text.lstrip(string.ascii_letters))]
    names = {name.casefold(): name for name in reversed(ir_measures.measures.registry)}
    close = difflib.get_close_matches(spelt.casefold(), names, n=1)
    return f"; did you mean `{names[close[0]]}{text[len(spelt) :]}`?" if close and names[close[0]] != spelt else ""


# TREC-DL binarises at grade 2 for every measure that knows only relevant or not; MS MARCO dev has grade 1 only.
TREC_DL_MEASURES = ("nDCG@10", "AP(rel=2)@1000", "R(rel=2)@1000", "RR(rel=2)@10")
DEV_MEASURES = ("RR@10", "R@1000")
OTHER_MEASURES = ("nDCG@10", "AP@1000", "R@1000", "RR@10")


def default_measures(qrels_name: str) -> tuple[str, ...]:
    """The measures customary for named qrels: TREC-DL passage, MS MARCO dev, or any other."""
    name = canonical_name(qrels_name)
    if re.fullmatch(r"dl\d\d-passage", name):
        return TREC_DL_MEASURES
    return DEV_MEASURES if name == "msmarco-passage-dev-subset" else OTHER_MEASURES


def relevance_grade(measures: Iterable[Measure], qrels_name: str) -> int:
    """The grade from which a document is relevant: that of the measures' `rel=`, or else what the qrels' name says.

    Without measures that agree on one, it is 2 for TREC-DL passage, and 1 for any other qrels.
    """
    grades = {measure.params["rel"] for measure in measures if "rel" in measure.params}
    if len(grades) == 1:
        return int(grades.pop())
    return 2 if default_measures(qrels_name) == TREC_DL_MEASURES else 1


def shallowest_cutoff(measures: Iterable[Measure]) -> int:
    """The first cutoff at which one of the measures stops looking; 10 if none stops."""
    return min((measure.params["cutoff"] for measure in measures if "cutoff" in measure.params), default=10)
