"""`evaluate`: runs by measures, compared."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.evaluation.comparison import (
    Comparison,
    has_negatives,
    largest_changes,
    notes,
    unjudged_share,
)
from pyserini_tasb.evaluation.measures import (
    default_measures,
    evaluate_run,
    parse_measures,
    relevance_grade,
    shallowest_cutoff,
)
from pyserini_tasb.evaluation.recall import recall_curve, recall_figure
from pyserini_tasb.evaluation.significance import TESTS, Tests, against_baseline, each_against_each
from pyserini_tasb.formats.named import as_qrels, as_topics, bundled_files, canonical_name, load_topics
from pyserini_tasb.formats.run import as_run, named_runs
from pyserini_tasb.formats.run_table import without_own_documents
from pyserini_tasb.outputs import optional_file
from pyserini_tasb.plots import as_png
from pyserini_tasb.tables import LETTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from ir_measures import Measure

    from pyserini_tasb.evaluation.comparison import QueryChange
    from pyserini_tasb.evaluation.measures import RunEvaluation
    from pyserini_tasb.formats.named import AnyQrels, AnyTopics
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)


def evaluate(
    runs: AnyRun | Iterable[AnyRun] | Mapping[str, AnyRun],
    *,
    qrels: AnyQrels,
    measures: str | Iterable[str | Measure] | None = None,
    remove_query: bool = False,
    baseline: AnyRun | None = None,
    all_pairs: bool = False,
    test: Literal["t", "randomisation"] | None = None,
    seed: int | None = None,
    details: bool = False,
    per_query: int | None = None,
    topics: AnyTopics | None = None,
    unjudged: bool = False,
    recall_plot: StrPath | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Evaluate runs as trec_eval does, and test their differences for significance.

        print(tasb.evaluate({"bm25": bm25, "mine": dense}, qrels="dl19-passage", baseline="bm25"))

    Args:
        runs: name → run, several runs, or one; each a path, a name (`dl19-passage.tasb`), a `Run`, a dictionary, a
            data frame, a TrecRun or a ranx Run.
        qrels: a name (`dl19-passage`), a file of TREC's or BEIR's, qid → docid → grade, or a data frame.
        measures: ir-measures' names, one or several, e.g. `nDCG@10` or `AP(rel=2)@1000`; by default the usual ones for
            these qrels.
        remove_query: drop each query's own document, whose docid is the query's id, from every run.
        baseline: the run with which all others are compared: a name among `runs`, or another run, which then comes
            first.
        all_pairs: compare each run with every other, instead of with a baseline.
        test: `t` (Student's, the default) or `randomisation`, both paired and two-sided.
        seed: the seed of the randomisation test, by default 0.
        details: show the confidence interval, effect size, p-value, wins, ties and losses of every comparison.
        per_query: the number of queries to show for each run and measure, those that differ most from the baseline.
        topics: the texts of these queries; by default the bundled topics with the name of the qrels.
        unjudged: show the share of documents without a judgment.
        recall_plot: a new PNG for recall at cutoffs 1 to 1,000.
        overwrite: replace a file at `recall_plot`, once the new one is complete.

    Raises:
        TasbError: the arguments contradict each other, a name or path does not exist, a file or measure is faulty, or a
            run is of other topics.
    """
    _require_sense(
        baseline=baseline,
        all_pairs=all_pairs,
        test=test,
        seed=seed,
        details=details,
        per_query=per_query,
        topics=topics,
        recall_plot=recall_plot,
    )
    inputs = [qrels, runs, baseline, topics]
    with optional_file(recall_plot, overwrite=overwrite, inputs=inputs, name="recall_plot") as picture:
        judgments = as_qrels(qrels)
        measures = [measures] if isinstance(measures, str) else measures
        parsed = parse_measures(default_measures(judgments.name) if measures is None else measures)
        texts = _topics(topics, judgments.name) if per_query else {}
        named, base = _named(runs, baseline)
        if all_pairs and not 2 <= len(named) <= len(LETTERS):
            raise TasbError(
                expected=f"2 to {len(LETTERS)} runs, which {argument('all_pairs', True)} names by letters",
                found=str(len(named)),
                do="name more runs"
                if len(named) < 2
                else f"compare fewer runs, or compare all with one {argument('baseline')}",
            )
        cutoff, grade = shallowest_cutoff(parsed), relevance_grade(parsed, judgments.name)
        evaluations, shares, curves, dropped = [], {}, {}, {}
        for name, given in named.items():
            run = as_run(given, name=name).to_dict()
            if remove_query:
                dropped[name] = sum(qid in ranking for qid, ranking in run.items())
                run = without_own_documents(run)
            evaluations.append(evaluate_run(run, judgments, parsed, name=name))
            if unjudged or has_negatives(judgments):
                shares[name] = unjudged_share(run, judgments, cutoff)
            if recall_plot is not None:
                curves[name] = recall_curve(run, judgments, grade)
        if picture is not None:
            picture.write(as_png(recall_figure(curves, judgments.name, grade)))
    test, seed = test or "t", seed or 0
    tests: Tests = {}
    if base is not None:
        tests = against_baseline(evaluations, base, test, seed)
    elif all_pairs:
        tests = each_against_each(evaluations, test, seed)
    comparison = Comparison(
        qrels=judgments.name,
        evaluations=evaluations,
        test=test,
        baseline=base,
        tests=tests,
        changes=_changes(evaluations, base, per_query, texts) if base is not None and per_query else {},
        cutoff=cutoff,
        unjudged=shares,
        dropped=dropped,
        own_relevant=sum(judged.get(qid, 0) > 0 for qid, judged in judgments.items()) if dropped else 0,
        details=details,
        unjudged_column=unjudged,
    )
    comparison = dataclasses.replace(comparison, notes=notes(comparison, parsed))
    for note in comparison.notes:
        LOG.info("%s", note)
    return comparison


def _require_sense(
    *,
    baseline: object,
    all_pairs: bool,
    test: str | None,
    seed: int | None,
    details: bool,
    per_query: int | None,
    topics: object,
    recall_plot: StrPath | None,
) -> None:
    mistakes = []
    if baseline is None and not all_pairs:
        neither = f"without {argument('baseline')} or {argument('all_pairs', True)}"
        given = {f"{argument('test')}": test, f"{argument('details', True)}": details}
        mistakes += [f"{option} {neither}" for option, is_given in given.items() if is_given]
    if baseline is not None and all_pairs:
        mistakes.append(f"{argument('baseline')} with {argument('all_pairs', True)}")
    if test is not None and test not in TESTS:
        mistakes.append(f"{argument('test', test)}, which is none of {', '.join(TESTS)}")
    if seed is not None and test != "randomisation":
        mistakes.append(f"{argument('seed')} without {argument('test', 'randomisation')}")
    if per_query and baseline is None:
        mistakes.append(f"{argument('per_query')} without {argument('baseline')}")
    if topics is not None and not per_query:
        mistakes.append(f"{argument('topics')} without {argument('per_query')}, which shows them")
    if recall_plot is not None and Path(recall_plot).suffix != ".png":
        mistakes.append(f"{argument('recall_plot', str(recall_plot))}, which is not named as a PNG")
    if mistakes:
        raise TasbError(expected="options that go together", found="; ".join(mistakes), do="see `tasb evaluate --help`")


def _named(
    runs: AnyRun | Iterable[AnyRun] | Mapping[str, AnyRun], baseline: AnyRun | None
) -> tuple[dict[str, AnyRun], str | None]:
    """All runs by their names, and the baseline's name; it comes first where it is not among the runs."""
    named = dict(named_runs(runs))
    if baseline is None:
        return named, None
    if isinstance(baseline, str | os.PathLike):
        name = str(baseline)
        return (named if name in named else {name: baseline, **named}), name
    same = [name for name, run in named.items() if run is baseline]
    if same:
        return named, same[0]
    ((name, run),) = named_runs([baseline])
    name = name if name not in named else "baseline"
    return {name: run, **named}, name


def _topics(topics: AnyTopics | None, qrels: str) -> Topics:
    """The topics that were given; or else, if they are bundled, those of the qrels' name."""
    if topics is not None:
        return as_topics(topics)
    known = bundled_files("topics").get(canonical_name(qrels))
    return load_topics(known) if known else {}


def _changes(
    evaluations: Sequence[RunEvaluation], baseline: str, count: int, topics: Topics
) -> dict[str, dict[str, list[QueryChange]]]:
    base = next(evaluation for evaluation in evaluations if evaluation.name == baseline)
    return {
        other.name: {measure: largest_changes(other, base, measure, count, topics) for measure in base.overall}
        for other in evaluations
        if other is not base
    }
