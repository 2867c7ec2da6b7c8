"""`tasb evaluate`: runs by measures, compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.measures import (
    RunEvaluation,
    default_measures,
    evaluate_run,
    parse_measures,
    relevance_grade,
    shallowest_cutoff,
)
from pyserini_tasb.evaluation.recall import draw_recall, recall_curve
from pyserini_tasb.evaluation.report import (
    QueryChange,
    Results,
    as_json,
    as_report,
    has_negatives,
    largest_changes,
    notes,
    unjudged_share,
)
from pyserini_tasb.evaluation.significance import Tests, against_baseline, all_pairs
from pyserini_tasb.formats.named import bundled_files, canonical_name, load_qrels, load_run, load_topics
from pyserini_tasb.formats.runs import without_own_documents
from pyserini_tasb.tables import LETTERS, markdown_layout, text_layout

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ir_measures import Measure

    from pyserini_tasb.formats.topics import Topics


def run(arguments: argparse.Namespace) -> int:
    """Evaluate `arguments.runs`, and `arguments.baseline` if it is not among them, against `arguments.qrels`.

    Raises:
        TasbError: options that do not go together, a name or path that leads nowhere, a faulty file or measure, or a
            run of other topics.
    """
    _require_sense(arguments)
    measures = parse_measures(arguments.measures or default_measures(arguments.qrels))
    results = _evaluate(arguments, measures)
    noted = notes(results, measures)
    for note in noted:
        print(f"tasb evaluate: note: {note}", file=sys.stderr)
    if arguments.json:
        print(as_json(results, noted))
    else:
        layout = markdown_layout() if arguments.markdown else text_layout()
        report = as_report(results, layout, details=arguments.details, unjudged=arguments.unjudged)
        # Names and topics may hold what stdout cannot print.
        encoding = sys.stdout.encoding or "ascii"
        print(report.encode(encoding, "backslashreplace").decode(encoding))
    return 0


def _require_sense(arguments: argparse.Namespace) -> None:
    mistakes = []
    if not arguments.baseline and not arguments.all_pairs:
        given = {"--test": arguments.test, "--details": arguments.details}
        mistakes += [f"{option} without --baseline or --all-pairs" for option, is_given in given.items() if is_given]
    if arguments.seed is not None and arguments.test != "randomisation":
        mistakes.append("--seed without --test randomisation")
    if arguments.per_query and not arguments.baseline:
        mistakes.append("--per-query without --baseline")
    if arguments.topics and not arguments.per_query:
        mistakes.append("--topics without --per-query, which alone shows them")
    if arguments.recall_plot and Path(arguments.recall_plot).suffix != ".png":
        mistakes.append(f"--recall-plot {arguments.recall_plot}, which is not named as a PNG")
    if mistakes:
        raise TasbError(
            expected="options that go together",
            found="; ".join(mistakes),
            do="see `tasb evaluate --help`",
        )


def _evaluate(arguments: argparse.Namespace, measures: Sequence[Measure]) -> Results:
    qrels = load_qrels(arguments.qrels)
    topics = _topics(arguments) if arguments.per_query else {}
    names = _names(arguments)
    cutoff, grade = shallowest_cutoff(measures), relevance_grade(measures, arguments.qrels)
    evaluations, unjudged, curves, dropped = [], {}, {}, {}
    for name in names:
        ranked = load_run(name)
        if arguments.remove_query:
            dropped[name] = sum(qid in ranking for qid, ranking in ranked.items())
            ranked = without_own_documents(ranked)
        evaluations.append(evaluate_run(ranked, qrels, measures, name=name))
        if arguments.unjudged or has_negatives(qrels):
            unjudged[name] = unjudged_share(ranked, qrels, cutoff)
        if arguments.recall_plot:
            curves[name] = recall_curve(ranked, qrels, grade)
    if curves:
        draw_recall(curves, arguments.qrels, grade, Path(arguments.recall_plot))
    test, seed = arguments.test or "t", arguments.seed or 0
    tests: Tests = {}
    if arguments.baseline:
        tests = against_baseline(evaluations, arguments.baseline, test, seed)
    elif arguments.all_pairs:
        tests = all_pairs(evaluations, test, seed)
    return Results(
        qrels=arguments.qrels,
        evaluations=evaluations,
        test=test,
        baseline=arguments.baseline,
        tests=tests,
        changes=_changes(arguments, evaluations, topics),
        cutoff=cutoff,
        unjudged=unjudged,
        dropped=dropped,
        own_relevant=sum(judged.get(qid, 0) > 0 for qid, judged in qrels.items()) if dropped else 0,
    )


def _names(arguments: argparse.Namespace) -> list[str]:
    first = [] if arguments.baseline in (None, *arguments.runs) else [arguments.baseline]
    names = list(dict.fromkeys([*first, *arguments.runs]))
    if arguments.all_pairs and not 2 <= len(names) <= len(LETTERS):
        raise TasbError(
            expected=f"2 to {len(LETTERS)} runs, which --all-pairs names by letters",
            found=str(len(names)),
            do="name more runs" if len(names) < 2 else "compare fewer, or all with one --baseline",
        )
    return names


def _topics(arguments: argparse.Namespace) -> Topics:
    """Those asked for; or else, if they are bundled, those of the qrels' name."""
    if arguments.topics:
        return load_topics(arguments.topics)
    known = bundled_files("topics").get(canonical_name(arguments.qrels))
    return load_topics(known) if known else {}


def _changes(
    arguments: argparse.Namespace, evaluations: Sequence[RunEvaluation], topics: Topics
) -> dict[str, dict[str, list[QueryChange]]]:
    if not arguments.per_query:
        return {}
    base = next(evaluation for evaluation in evaluations if evaluation.name == arguments.baseline)
    return {
        other.name: {
            measure: largest_changes(other, base, measure, arguments.per_query, topics) for measure in base.overall
        }
        for other in evaluations
        if other is not base
    }
