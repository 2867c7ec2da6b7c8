"""The results of an evaluation for programs."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
from typing import TYPE_CHECKING, Any

from pyserini_tasb import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.evaluate.evaluation import RunEvaluation
    from pyserini_tasb.evaluate.results import Results


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
