"""A study's tasks, read and checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate import (
    evaluate_run,
    load_qrels,
    load_run,
    load_topics,
    parse_measures,
    without_own_documents,
)
from pyserini_tasb.rerank.passages import read_passages
from pyserini_tasb.rerank.requirements import require_texts, require_topics
from pyserini_tasb.rerank.reranking import top_of_run
from pyserini_tasb.texts.collections import open_collection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyserini_tasb.evaluate import Qrels, Run, Topics
    from pyserini_tasb.pipelines.study.config import Task

Values = dict[str, dict[str, float]]
"""measure → qid → value."""


@dataclass(frozen=True)
class LoadedTask:
    """A task with all that it names, but for a collection that is searched: that is read for every model.

    Args:
        name: of the task.
        topics: qid → text, of the judged queries alone.
        qrels: of those.
        measures: ir-measures' names.
        depth: passages of each query that are re-ranked or found.
        collection: where the passages are.
        tops: qid → docids to be re-ranked; None where the collection is searched.
        passages: docid → text of those.
        remove_query: a document whose docid is the query's id is neither ranked nor measured.
    """

    name: str
    topics: Topics
    qrels: Qrels
    measures: tuple[str, ...]
    depth: int
    collection: Path
    tops: dict[str, list[str]] | None
    passages: dict[str, str]
    remove_query: bool

    def values(self, run: Run) -> Values:
        """What a run is worth, query by query."""
        if self.remove_query:
            run = without_own_documents(run)
        evaluation = evaluate_run(run, self.qrels, self.measures, name=self.name)
        return {
            measure: dict(zip(evaluation.queries, values.tolist(), strict=True))
            for measure, values in evaluation.per_query.items()
        }

    @property
    def digest(self) -> str:
        """Of what the values depend on, besides the model; a collection that is searched counts by path and size."""
        size = self.collection.stat().st_size if self.collection.is_file() else None
        content = (self.topics, self.qrels, self.measures, self.depth, self.tops, self.passages)
        searched = (
            None if self.tops is not None else (str(self.collection), size, *(["remove_query"] * self.remove_query))
        )
        return hashlib.sha256(json.dumps([*content, searched]).encode()).hexdigest()


def load_tasks(tasks: Mapping[str, Task]) -> list[LoadedTask]:
    """Read them, so that what is wrong with one is known before anything is trained.

    Raises:
        TasbError: a name that leads nowhere, a faulty file, judged queries without a text, or passages without one.
    """
    return [_load(name, task) for name, task in tasks.items()]


def _load(name: str, task: Task) -> LoadedTask:
    qrels, topics = load_qrels(task.qrels), load_topics(task.topics)
    require_topics(qrels, topics, where=f"tasks.{name}: {task.topics}")
    tops, passages = None, {}
    if task.run is None:
        open_collection(task.collection)
    else:
        first = load_run(task.run, remove_query=task.remove_query)
        run = {qid: ranking for qid, ranking in first.items() if qid in qrels}
        tops = top_of_run(run, task.depth, where=f"tasks.{name}: {task.run}")
        docids = dict.fromkeys(docid for ranking in tops.values() for docid in ranking)
        passages = read_passages(task.collection, docids)
        require_texts(docids, passages, where=f"tasks.{name}: {task.collection}")
    return LoadedTask(
        name,
        {qid: topics[qid] for qid in qrels},
        qrels,
        tuple(map(str, parse_measures(task.measures))),
        task.depth,
        task.collection,
        tops,
        passages,
        task.remove_query,
    )
