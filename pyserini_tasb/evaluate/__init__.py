"""Topics, qrels and runs by name or path; measures as trec_eval computes them; paired tests, recall.

    from pyserini_tasb.evaluate import evaluate_run, load_qrels, load_run

    evaluation = evaluate_run(load_run("dl19-passage.tasb"), load_qrels("dl19-passage"), ["nDCG@10"])
    evaluation.overall["nDCG@10"]    # .7210
    evaluation.per_query["nDCG@10"]  # array, one value for each of evaluation.queries

Nothing is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyserini_tasb.evaluate.evaluation import RunEvaluation, evaluate_run
    from pyserini_tasb.evaluate.measures import default_measures, parse_measures
    from pyserini_tasb.evaluate.qrels import Qrels, read_qrels
    from pyserini_tasb.evaluate.recall import recall_curve
    from pyserini_tasb.evaluate.resolver import bundled_files, load_qrels, load_run, load_topics
    from pyserini_tasb.evaluate.runs import Run, read_run, without_own_documents, write_run
    from pyserini_tasb.evaluate.significance import PairedTest, paired_test, paired_tests
    from pyserini_tasb.evaluate.topics import Topics, read_topics

__all__ = [
    "PairedTest",
    "Qrels",
    "Run",
    "RunEvaluation",
    "Topics",
    "bundled_files",
    "default_measures",
    "evaluate_run",
    "load_qrels",
    "load_run",
    "load_topics",
    "paired_test",
    "paired_tests",
    "parse_measures",
    "read_qrels",
    "read_run",
    "read_topics",
    "recall_curve",
    "without_own_documents",
    "write_run",
]

_EXPORTS = {
    "evaluation": ("RunEvaluation", "evaluate_run"),
    "measures": ("default_measures", "parse_measures"),
    "qrels": ("Qrels", "read_qrels"),
    "recall": ("recall_curve",),
    "resolver": ("bundled_files", "load_qrels", "load_run", "load_topics"),
    "runs": ("Run", "read_run", "without_own_documents", "write_run"),
    "significance": ("PairedTest", "paired_test", "paired_tests"),
    "topics": ("Topics", "read_topics"),
}
_HOME_OF = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
