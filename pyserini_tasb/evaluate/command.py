"""`tasb evaluate`: runs by measures, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from pyserini_tasb import __version__
from pyserini_tasb.evaluate.evaluation import RunEvaluation, evaluate_run
from pyserini_tasb.evaluate.measures import default_measures, parse_measures
from pyserini_tasb.evaluate.resolver import load_qrels, load_run
from pyserini_tasb.evaluate.significance import PairedTTest, paired_t_tests

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ir_measures import Measure

SIGNIFICANT = 0.05
Tests = dict[str, dict[str, PairedTTest]]
"""measure → name of the run → its test against the baseline."""


def run(arguments: argparse.Namespace) -> int:
    """Evaluate `arguments.runs`, and `arguments.baseline` if it is not among them, against `arguments.qrels`.

    Raises:
        TasbError: a name or path that leads nowhere, a faulty file or measure, or a run of other topics.
    """
    measures = parse_measures(arguments.measures or default_measures(arguments.qrels))
    qrels = load_qrels(arguments.qrels)
    first = [] if arguments.baseline in (None, *arguments.runs) else [arguments.baseline]
    names = dict.fromkeys([*first, *arguments.runs])
    evaluations = [evaluate_run(load_run(name), qrels, measures, name=name) for name in names]
    for note in notes(evaluations, measures):
        print(f"tasb evaluate: note: {note}", file=sys.stderr)
    tests = tests_against(arguments.baseline, evaluations) if arguments.baseline else {}
    if arguments.json:
        print(as_json(arguments.qrels, evaluations, arguments.baseline, tests))
    else:
        print(as_table(arguments.qrels, evaluations, arguments.baseline, tests))
    return 0


def tests_against(baseline: str, evaluations: Sequence[RunEvaluation]) -> Tests:
    """Test every other run against the one named `baseline`, measure by measure."""
    base = next(evaluation for evaluation in evaluations if evaluation.name == baseline)
    others = [evaluation for evaluation in evaluations if evaluation is not base]
    return {
        measure: paired_t_tests({other.name: other.per_query[measure] for other in others}, values)
        for measure, values in base.per_query.items()
    }


def notes(evaluations: Sequence[RunEvaluation], measures: Sequence[Measure]) -> list[str]:
    """What the numbers do not show: judged queries without results, and runs shallower than a measure looks."""
    lines = []
    for evaluation in evaluations:
        if evaluation.missing:
            examples = ", ".join(evaluation.missing[:3]) + (", …" if len(evaluation.missing) > 3 else "")
            lines.append(
                f"{evaluation.name} lacks {len(evaluation.missing)} of {len(evaluation.queries)} judged queries, "
                f"which count as 0: {examples}"
            )
        deeper = [str(measure) for measure in measures if measure.params.get("cutoff", 0) > evaluation.depth]
        if deeper:
            lines.append(f"{evaluation.name} ends at depth {evaluation.depth}, before {', '.join(deeper)}")
    return lines


def as_table(qrels: str, evaluations: Sequence[RunEvaluation], baseline: str | None, tests: Tests) -> str:
    """Runs by measures to four decimals; beside each value its difference to the baseline, marked if significant."""
    mark = _printable("†", "*")
    measures = list(evaluations[0].overall)
    rows = [["run", *measures]]
    for evaluation in evaluations:
        cells = [f"{value:.4f}" for value in evaluation.overall.values()]
        for column, measure in enumerate(measures):
            test = tests.get(measure, {}).get(evaluation.name)
            if test:
                cells[column] += f" {test.difference:+.4f}{mark if test.p_holm < SIGNIFICANT else ''}"
        rows.append([evaluation.name, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", f"{len(evaluations[0].queries)} queries of {qrels}"]
    if baseline:
        compared = len(evaluations) - 1
        correction = f", Holm-corrected for {compared} runs" if compared > 1 else ""
        lines[-1] += f"; differences to {baseline}; {mark} p < {SIGNIFICANT} (paired t-test{correction})"
    return "\n".join(lines)


def as_json(qrels: str, evaluations: Sequence[RunEvaluation], baseline: str | None, tests: Tests) -> str:
    """The same with every query's value, each test's t, p, wins, ties and losses, and versions; infinities are null."""
    document = {
        "qrels": qrels,
        "queries": len(evaluations[0].queries),
        "measures": list(evaluations[0].overall),
        "baseline": baseline,
        "runs": [
            {
                "run": evaluation.name,
                "overall": evaluation.overall,
                "per_query": {
                    measure: dict(zip(evaluation.queries, values.tolist(), strict=True))
                    for measure, values in evaluation.per_query.items()
                },
                "missing_queries": evaluation.missing,
                "depth": evaluation.depth,
                "against_baseline": {
                    measure: dataclasses.asdict(by_run[evaluation.name])
                    for measure, by_run in tests.items()
                    if evaluation.name in by_run
                },
            }
            for evaluation in evaluations
        ],
        "versions": {
            "pyserini-tasb": __version__,
            **{name: importlib.metadata.version(name) for name in ("ir-measures", "pytrec-eval-terrier", "scipy")},
        },
    }
    return json.dumps(_without_infinities(document), indent=1, allow_nan=False)


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _printable(text: str, otherwise: str) -> str:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return otherwise
    return text
