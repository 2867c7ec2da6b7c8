"""The results of an evaluation: tables in text or Markdown, JSON, and notes on what numbers do not show."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb import __version__
from pyserini_tasb.evaluation.significance import SIGNIFICANT, TESTS, better_than
from pyserini_tasb.formats.runs import ranked_docids
from pyserini_tasb.tables import LETTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ir_measures import Measure

    from pyserini_tasb.evaluation.measures import RunEvaluation
    from pyserini_tasb.evaluation.significance import PairedTest, Tests
    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.tables import Layout


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


# --------
# What the numbers of an evaluation do not show.

UNJUDGED_NOTED = 0.1


def notes(results: Results, measures: Sequence[Measure]) -> list[str]:
    """A line each on dropped documents, missing queries and judgments, and runs shallower than a measure looks."""
    of_runs = [
        note
        for evaluation in results.evaluations
        for note in (*_of_queries(evaluation), *_of_depth(evaluation, measures), *_of_judgments(evaluation, results))
    ]
    return [*_of_dropped(results), *of_runs]


def _of_dropped(results: Results) -> Iterator[str]:
    if results.dropped:
        counts = ", ".join(f"{count} from {name}" for name, count in results.dropped.items())
        yield f"dropped documents that have their query's id: {counts}"
    if results.own_relevant:
        yield (
            f"{results.qrels} calls {results.own_relevant} documents relevant that have their query's id; are queries "
            "and documents numbered independently?"
        )


def _of_queries(evaluation: RunEvaluation) -> Iterator[str]:
    name, judged = evaluation.name, len(evaluation.queries)
    if missing := evaluation.missing:
        yield f"{name} lacks {len(missing)} of {judged} judged queries, which count as 0: {_examples(missing)}"
    if extra := evaluation.without_judgments:
        has = f"{name} has {len(extra)} of its {judged - len(missing) + len(extra)} queries"
        yield f"{has} without judgments, which are left out: {_examples(extra)}"


def _of_depth(evaluation: RunEvaluation, measures: Sequence[Measure]) -> Iterator[str]:
    deeper = [str(measure) for measure in measures if measure.params.get("cutoff", 0) > evaluation.depth]
    if deeper:
        yield f"{evaluation.name} ends at depth {evaluation.depth}, before {', '.join(deeper)}"


def _of_judgments(evaluation: RunEvaluation, results: Results) -> Iterator[str]:
    share = results.unjudged.get(evaluation.name, 0)
    if share >= UNJUDGED_NOTED:
        yield (
            f"{share:.1%} of the documents in the top {results.cutoff} of {evaluation.name} have no judgment, "
            "which counts as not relevant"
        )


def _examples(qids: Sequence[str]) -> str:
    return ", ".join(qids[:3]) + (", …" if len(qids) > 3 else "")


# --------
# How much of what a run shows nobody has judged.


def unjudged_share(run: Mapping[str, Mapping[str, float]], qrels: QrelsDict, cutoff: int) -> float:
    """The share, 0 to 1, of documents without a judgment among the run's top `cutoff` of all judged queries.

    Args:
        run: qid → docid → score, with a document for at least one judged query.
        qrels: qid → docid → grade.
        cutoff: how far down to look; shorter rankings count as they are.
    """
    shown = [(qid, docid) for qid in qrels if qid in run for docid in ranked_docids(run[qid])[:cutoff]]
    return sum(docid not in qrels[qid] for qid, docid in shown) / len(shown)


def has_negatives(qrels: QrelsDict) -> bool:
    """Whether some documents were judged not relevant; where none were, a missing judgment says little."""
    return any(grade < 1 for judged in qrels.values() for grade in judged.values())


# --------
# The queries on which two runs differ most.


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


# --------
# The results of an evaluation for readers: tables, in text or Markdown.


def as_report(results: Results, layout: Layout, *, details: bool = False, unjudged: bool = False) -> str:
    """Runs by measures to four decimals, with what was compared.

    Against a baseline, its difference stands beside each value, marked if significant; with each run compared to each,
    the letters of those that it is significantly better than.

    Args:
        results: what to show.
        layout: text or Markdown.
        details: every comparison's interval, effect size, p, wins, ties and losses, in a table for each measure.
        unjudged: a column with the share of documents without a judgment.
    """
    parts = [_table(results, layout, unjudged=unjudged), _legend(results, layout)]
    if details:
        parts += _details(results, layout)
    parts += _changes(results, layout)
    return "\n\n".join(parts)


def _table(results: Results, layout: Layout, *, unjudged: bool) -> str:
    lettered = _lettered(results)
    letters = dict(zip(results.names, LETTERS, strict=False)) if lettered else {}
    head = [*([""] if lettered else []), "run", *results.measures]
    lines = []
    for evaluation in results.evaluations:
        line = [letters[evaluation.name]] if lettered else []
        line += [evaluation.name]
        line += [_value(results, layout, evaluation, measure, letters) for measure in results.measures]
        lines.append(line)
    if unjudged:
        head.append(f"unjudged@{results.cutoff}")
        for line, name in zip(lines, results.names, strict=True):
            line.append(f"{results.unjudged[name]:.1%}")
    return layout.table(head, lines)


def _lettered(results: Results) -> bool:
    return bool(results.tests) and results.baseline is None


def _value(results: Results, layout: Layout, evaluation: RunEvaluation, measure: str, letters: dict[str, str]) -> str:
    value, tests = f"{evaluation.overall[measure]:.4f}", results.tests.get(measure, {})
    if letters:
        return value + layout.raised("".join(sorted(letters[name] for name in better_than(tests, evaluation.name))))
    if results.baseline is None or evaluation.name == results.baseline:
        return value
    test = tests[evaluation.name, results.baseline]
    return f"{value} {test.difference:+.4f}{layout.mark if test.significant else ''}"


def _legend(results: Results, layout: Layout) -> str:
    legend = f"{len(results.evaluations[0].queries)} queries of {results.qrels}"
    if not results.tests:
        return legend
    compared = len(next(iter(results.tests.values())))
    counted = "runs" if results.baseline else "pairs"
    correction = f", Holm-corrected for {compared} {counted}" if compared > 1 else ""
    how = f"p < {SIGNIFICANT} ({TESTS[results.test]}{correction})"
    if results.baseline:
        return f"{legend}; differences to {results.baseline}; {layout.mark} {how}"
    return f"{legend}; {layout.raised(LETTERS[: len(results.names)])} better than that run, {how}"


def _details(results: Results, layout: Layout) -> Iterator[str]:
    head = ["run", "minus", "difference", "95 % interval", "d_z", "p", "p (Holm)", "wins/ties/losses"]
    for measure, tests in results.tests.items():
        lines = [[*pair, *_detail(test)] for pair, test in tests.items()]
        yield f"{layout.heading(measure)}\n\n{layout.table(head, lines)}"
    yield (
        f"p of the {TESTS[results.test]}; the interval is Student's, over queries; "
        "d_z is the mean of the differences over their standard deviation."
    )


def _detail(test: PairedTest) -> list[str]:
    low, high = test.interval
    return [
        f"{test.difference:+.4f}",
        f"{low:+.4f} to {high:+.4f}",
        f"{test.effect_size:+.2f}",
        f"{test.p:.2g}",
        f"{test.p_holm:.2g}",
        f"{test.wins}/{test.ties}/{test.losses}",
    ]


def _changes(results: Results, layout: Layout) -> Iterator[str]:
    for name, by_measure in results.changes.items():
        for measure, changes in by_measure.items():
            title = layout.heading(f"{measure}, where {name} differs most from {results.baseline}")
            head = ["qid", name, results.baseline or "", "difference", "topic"]
            lines = [
                [
                    change.qid,
                    f"{change.value:.4f}",
                    f"{change.baseline:.4f}",
                    f"{change.value - change.baseline:+.4f}",
                    change.topic or "",
                ]
                for change in changes
            ]
            yield f"{title}\n\n{layout.table(head, lines)}" if lines else f"{title}\n\nnowhere"


# --------
# The results of an evaluation for programs.


def as_json(results: Results, notes: Sequence[str]) -> str:
    """Everything: each query's value, each comparison, what was noted, and versions; infinities are null."""
    document = {
        "qrels": results.qrels,
        "queries": len(results.evaluations[0].queries),
        "measures": results.measures,
        "baseline": results.baseline,
        "runs": [_run(results, evaluation) for evaluation in results.evaluations],
        "notes": list(notes),
        "versions": {
            "pyserini-tasb": __version__,
            **{name: importlib.metadata.version(name) for name in ("ir-measures", "pytrec-eval-terrier", "scipy")},
        },
    }
    if results.tests and results.baseline is None:
        document["pairs"] = {
            measure: [{"run": run, "other": other, **dataclasses.asdict(test)} for (run, other), test in tests.items()]
            for measure, tests in results.tests.items()
        }
    return json.dumps(_without_infinities(document), indent=1, allow_nan=False)


def _run(results: Results, evaluation: RunEvaluation) -> dict[str, Any]:
    name = evaluation.name
    unjudged = results.unjudged.get(name)
    return {
        "run": name,
        "overall": evaluation.overall,
        "per_query": {
            measure: dict(zip(evaluation.queries, values.tolist(), strict=True))
            for measure, values in evaluation.per_query.items()
        },
        "missing_queries": evaluation.missing,
        "queries_without_judgments": evaluation.without_judgments,
        "depth": evaluation.depth,
        "unjudged": None if unjudged is None else {"cutoff": results.cutoff, "share": unjudged},
        "own_documents_dropped": results.dropped.get(name),
        "against_baseline": {
            measure: dataclasses.asdict(tests[name, results.baseline])
            for measure, tests in results.tests.items()
            if results.baseline and (name, results.baseline) in tests
        },
        "largest_changes": {
            measure: [dataclasses.asdict(change) for change in changes]
            for measure, changes in results.changes.get(name, {}).items()
        },
    }


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
