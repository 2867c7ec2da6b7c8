"""The results of an evaluation for readers: tables, in text or Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.comparison import better_than
from pyserini_tasb.evaluate.layout import LETTERS
from pyserini_tasb.evaluate.significance import SIGNIFICANT, TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserini_tasb.evaluate.evaluation import RunEvaluation
    from pyserini_tasb.evaluate.layout import Layout
    from pyserini_tasb.evaluate.results import Results
    from pyserini_tasb.evaluate.significance import PairedTest


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
