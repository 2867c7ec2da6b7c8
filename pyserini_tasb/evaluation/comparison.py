"""The result of `evaluate`: values and differences of runs, as a table, Markdown, HTML, JSON or a data frame."""

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
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.results import Result
from pyserini_tasb.tables import LETTERS, html_layout, markdown_layout, text_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ir_measures import Measure

    from pyserini_tasb.evaluation.measures import RunEvaluation
    from pyserini_tasb.evaluation.significance import PairedTest, Tests
    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.tables import Layout


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """Values of runs by measures, rounded to four decimals, and their differences. `print` shows the table.

    Attributes:
        qrels: the name of the judgments.
        evaluations: the evaluation of each run, with the value of every query.
        test: the test of all comparisons, `t` or `randomisation`.
        baseline: the run that the others are compared with; None without comparisons, or if each run is compared with
            every other.
        tests: measure → (name of the run, name of the other) → their test; empty without comparisons.
        changes: run → measure → the queries that differ most from the baseline; empty without `per_query`.
        cutoff: the number of documents of each query that `unjudged` counts.
        unjudged: run → share, 0 to 1, of its documents without a judgment; empty if this share means nothing.
        dropped: run → the number of queries whose own document was dropped; empty without `remove_query`.
        own_relevant: the number of queries whose own document is relevant in the qrels; 0 without `remove_query`.
        notes: notes on the numbers, a sentence each.
        details: true if the table has every comparison's interval, effect size, p, wins, ties and losses below it.
        unjudged_column: true if the table has a column for `unjudged`.
    """

    qrels: str
    evaluations: Sequence[RunEvaluation]
    test: str = "t"
    baseline: str | None = None
    tests: Tests = dataclasses.field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Sequence[QueryChange]]] = dataclasses.field(default_factory=dict)
    cutoff: int = 10
    unjudged: Mapping[str, float] = dataclasses.field(default_factory=dict)
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    own_relevant: int = 0
    notes: Sequence[str] = ()
    details: bool = False
    unjudged_column: bool = False

    @property
    def measures(self) -> list[str]:
        """The measures' names, in the order of the columns."""
        return list(self.evaluations[0].overall)

    @property
    def runs(self) -> list[str]:
        """The runs' names, in the order of the rows."""
        return [evaluation.name for evaluation in self.evaluations]

    def __getitem__(self, run: str) -> RunEvaluation:
        """The evaluation of one run."""
        return self.evaluations[self.runs.index(run)]

    def __repr__(self) -> str:
        return _laid_out(self, text_layout())

    def _repr_html_(self) -> str:
        return _laid_out(self, html_layout())

    def to_markdown(self) -> str:
        """The table in Markdown."""
        return _laid_out(self, markdown_layout())

    def to_json(self) -> str:
        """Everything `to_dict` has, as JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything: each query's value, each comparison, what was noted, and versions; infinities are None."""
        document: dict[str, Any] = {
            "qrels": self.qrels,
            "queries": len(self.evaluations[0].queries),
            "measures": self.measures,
            "baseline": self.baseline,
            "runs": [_run(self, evaluation) for evaluation in self.evaluations],
            "notes": list(self.notes),
            "versions": {
                "pyserini-tasb": __version__,
                **{name: importlib.metadata.version(name) for name in ("ir-measures", "pytrec-eval-terrier", "scipy")},
            },
        }
        if self.tests and self.baseline is None:
            document["pairs"] = {
                measure: [
                    {"run": run, "other": other, **dataclasses.asdict(test)} for (run, other), test in tests.items()
                ]
                for measure, tests in self.tests.items()
            }
        return {key: _without_infinities(value) for key, value in document.items()}

    def to_pandas(self, *, per_query: bool = False) -> Any:
        """A data frame with a row for each run and a column for each measure.

        Args:
            per_query: a row for each run and query instead; the index has both.
        """
        import pandas as pd

        if not per_query:
            index = pd.Index(self.runs, name="run")
            return pd.DataFrame([evaluation.overall for evaluation in self.evaluations], index=index)
        frames = {
            evaluation.name: pd.DataFrame(evaluation.per_query, index=pd.Index(evaluation.queries, name="qid"))
            for evaluation in self.evaluations
        }
        return pd.concat(frames, names=["run"])


@dataclass(frozen=True)
class QueryChange:
    """One query's value in a run and in the baseline; `topic` is its text, None where that is not known."""

    qid: str
    topic: str | None
    value: float
    baseline: float


def _laid_out(results: Comparison, layout: Layout) -> str:
    """Runs by measures, with what was compared.

    Against a baseline, its difference stands beside each value, marked if significant; with each run compared to each,
    the letters of those that it is significantly better than.
    """
    parts = [_table(results, layout), layout.paragraph(_legend(results, layout))]
    if results.details:
        parts += _details(results, layout)
    parts += _changes(results, layout)
    return "\n\n".join(parts)


def _table(results: Comparison, layout: Layout) -> str:
    lettered = _lettered(results)
    letters = dict(zip(results.runs, LETTERS, strict=False)) if lettered else {}
    head = [*([""] if lettered else []), "run", *results.measures]
    lines = []
    for evaluation in results.evaluations:
        line = [letters[evaluation.name]] if lettered else []
        line += [evaluation.name]
        line += [_value(results, layout, evaluation, measure, letters) for measure in results.measures]
        lines.append(line)
    if results.unjudged_column:
        head.append(f"unjudged@{results.cutoff}")
        for line, name in zip(lines, results.runs, strict=True):
            line.append(f"{results.unjudged[name]:.1%}")
    return layout.table(head, lines)


def _lettered(results: Comparison) -> bool:
    return bool(results.tests) and results.baseline is None


def _value(
    results: Comparison, layout: Layout, evaluation: RunEvaluation, measure: str, letters: dict[str, str]
) -> str:
    value, tests = f"{evaluation.overall[measure]:.4f}", results.tests.get(measure, {})
    if letters:
        return value + layout.raised("".join(sorted(letters[name] for name in better_than(tests, evaluation.name))))
    if results.baseline is None or evaluation.name == results.baseline:
        return value
    test = tests[evaluation.name, results.baseline]
    return f"{value} {test.difference:+.4f}{layout.mark if test.significant else ''}"


def _legend(results: Comparison, layout: Layout) -> str:
    legend = f"{len(results.evaluations[0].queries)} queries of {results.qrels}"
    if not results.tests:
        return legend
    compared = len(next(iter(results.tests.values())))
    counted = "runs" if results.baseline else "pairs"
    correction = f", Holm-corrected for {compared} {counted}" if compared > 1 else ""
    how = f"p < {SIGNIFICANT} ({TESTS[results.test]}{correction})"
    if results.baseline:
        return f"{legend}; differences to {results.baseline}; {layout.mark} {how}"
    return f"{legend}; {layout.raised(LETTERS[: len(results.runs)])} better than that run, {how}"


def _details(results: Comparison, layout: Layout) -> Iterator[str]:
    head = ["run", "minus", "difference", "95 % interval", "d_z", "p", "p (Holm)", "wins/ties/losses"]
    for measure, tests in results.tests.items():
        lines = [[*pair, *_detail(test)] for pair, test in tests.items()]
        yield f"{layout.heading(measure)}\n\n{layout.table(head, lines)}"
    yield layout.paragraph(
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


def _changes(results: Comparison, layout: Layout) -> Iterator[str]:
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
            yield f"{title}\n\n{layout.table(head, lines)}" if lines else f"{title}\n\n{layout.paragraph('nowhere')}"


def _run(results: Comparison, evaluation: RunEvaluation) -> dict[str, Any]:
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


UNJUDGED_NOTED = 0.1


def notes(results: Comparison, measures: Sequence[Measure]) -> list[str]:
    """A line each on dropped documents, missing queries and judgments, and runs shallower than a measure looks."""
    on_runs = [
        note
        for evaluation in results.evaluations
        for note in (
            *_query_notes(evaluation),
            *_depth_notes(evaluation, measures),
            *_judgment_notes(evaluation, results),
        )
    ]
    return [*_dropped_notes(results), *on_runs]


def _dropped_notes(results: Comparison) -> Iterator[str]:
    if results.dropped:
        counts = ", ".join(f"{count} from {name}" for name, count in results.dropped.items())
        yield f"dropped documents that have their query's id: {counts}"
    if results.own_relevant:
        yield (
            f"{results.own_relevant} relevant documents in {results.qrels} have their query's id; are queries and "
            "documents numbered independently?"
        )


def _query_notes(evaluation: RunEvaluation) -> Iterator[str]:
    name, judged = evaluation.name, len(evaluation.queries)
    if missing := evaluation.missing:
        yield f"{name} lacks {len(missing)} of {judged} judged queries, which count as 0: {_examples(missing)}"
    if extra := evaluation.without_judgments:
        has = f"{name} has {len(extra)} of its {judged - len(missing) + len(extra)} queries"
        yield f"{has} without judgments, which are left out: {_examples(extra)}"


def _depth_notes(evaluation: RunEvaluation, measures: Sequence[Measure]) -> Iterator[str]:
    deeper = [str(measure) for measure in measures if measure.params.get("cutoff", 0) > evaluation.depth]
    if deeper:
        yield f"{evaluation.name} ends at depth {evaluation.depth}, which is too short for {', '.join(deeper)}"


def _judgment_notes(evaluation: RunEvaluation, results: Comparison) -> Iterator[str]:
    share = results.unjudged.get(evaluation.name, 0)
    if share >= UNJUDGED_NOTED:
        yield (
            f"{share:.1%} of the documents in the top {results.cutoff} of {evaluation.name} have no judgment "
            "and count as not relevant"
        )


def _examples(qids: Sequence[str]) -> str:
    return ", ".join(qids[:3]) + (", …" if len(qids) > 3 else "")


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
    """True if some documents were judged not relevant. If none were, a missing judgment says little."""
    return any(grade < 1 for judged in qrels.values() for grade in judged.values())


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
