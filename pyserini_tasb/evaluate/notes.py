"""What the numbers of an evaluation do not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ir_measures import Measure

    from pyserini_tasb.evaluate.evaluation import RunEvaluation
    from pyserini_tasb.evaluate.results import Results

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
