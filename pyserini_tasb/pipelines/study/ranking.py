"""A model's runs of a study's tasks. Each passage of a collection is encoded once, whatever tasks want it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tqdm import tqdm

from pyserini_tasb.encode.text_encoder import TextEncoder
from pyserini_tasb.evaluate import without_own_documents
from pyserini_tasb.evaluate.ranking import ranked_docids
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.model.kind import kind_of
from pyserini_tasb.recipes import encoder_card
from pyserini_tasb.rerank.reranking import rerank
from pyserini_tasb.score.pair_scorer import ScoringOptions, load_scorer
from pyserini_tasb.texts.collections import open_collection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.evaluate import Run
    from pyserini_tasb.pipelines.study.task import LoadedTask
    from pyserini_tasb.recipes import EncoderCard

PASSAGES_AT_ONCE = 4_096


def runs_of(model: str, tasks: Sequence[LoadedTask], options: ScoringOptions) -> dict[str, Run]:
    """Rank every task's passages with a model.

    Args:
        model: what `--model` of `tasb rerank` takes.
        tasks: to be ranked.
        options: how to compute; lengths are the model's.

    Returns:
        task → run; without the tasks that search, where the model scores pairs and makes no vectors.

    Raises:
        TasbError: no such model, or one that scores nothing.
    """
    card = encoder_card(model)
    folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
    if kind_of(folder, pooling=card.pooling) == "bert-dot":
        return _by_vectors(card.model_copy(update={"precision": options.precision or card.precision}), tasks, options)
    scorer = load_scorer(model, options)
    runs: dict[str, Run] = {}
    for task in tasks:
        if task.tops is not None:
            run = {qid: {docid: -float(rank) for rank, docid in enumerate(docids)} for qid, docids in task.tops.items()}
            queries = rerank(run, task.topics, task.passages, scorer, task.depth)
            runs[task.name] = {
                query.qid: dict(zip(query.docids, query.scores.tolist(), strict=True))
                for query in tqdm(queries, desc=task.name, total=len(run), unit=" queries", mininterval=1.0)
            }
    return runs


def _by_vectors(card: EncoderCard, tasks: Sequence[LoadedTask], options: ScoringOptions) -> dict[str, Run]:
    encoder = TextEncoder(card, options.found_device)
    rankings: dict[str, _Ranking] = {}
    for task in tasks:
        texts = [card.query_prefix + text for text in task.topics.values()]
        vectors = encoder.encode(texts, max_length=card.query_max_length)
        rankings[task.name] = _Found(task, vectors) if task.tops is None else _Reranked(task.tops, task, vectors)
    for path in dict.fromkeys(task.collection for task in tasks):
        here = [task for task in tasks if task.collection == path]
        searched = any(task.tops is None for task in here)
        passages: Iterable[tuple[str, str]] = open_collection(path)
        if not searched:
            passages = dict(itertools.chain.from_iterable(task.passages.items() for task in here)).items()
        stream = iter(tqdm(passages, desc=path.name, unit=" passages", mininterval=1.0))
        while batch := list(itertools.islice(stream, PASSAGES_AT_ONCE)):
            texts = [card.passage_prefix + text for _, text in batch]
            vectors = encoder.encode(texts, max_length=card.passage_max_length)
            for task in here:
                rankings[task.name].add([docid for docid, _ in batch], vectors)
    return {name: ranking.run() for name, ranking in rankings.items()}


class _Ranking(Protocol):
    """Scores of one task's queries with passages that come batch by batch."""

    def add(self, docids: list[str], vectors: NDArray[np.float32]) -> None: ...

    def run(self) -> Run: ...


class _Reranked:
    """Of the passages that a run has for each query."""

    def __init__(self, tops: dict[str, list[str]], task: LoadedTask, queries: NDArray[np.float32]) -> None:
        self._query_of = {qid: queries[row] for row, qid in enumerate(task.topics) if qid in tops}
        self._qids: dict[str, list[str]] = {}
        for qid, docids in tops.items():
            for docid in docids:
                self._qids.setdefault(docid, []).append(qid)
        self._run: Run = {qid: {} for qid in tops}

    def add(self, docids: list[str], vectors: NDArray[np.float32]) -> None:
        for docid, vector in zip(docids, vectors, strict=True):
            for qid in self._qids.get(docid, ()):
                self._run[qid][docid] = float(self._query_of[qid] @ vector)

    def run(self) -> Run:
        return self._run


class _Found:
    """Of all passages, the best of each query; in memory are these alone."""

    def __init__(self, task: LoadedTask, queries: NDArray[np.float32]) -> None:
        self._task, self._queries = task, queries
        self._depth = task.depth + task.remove_query  # so that `depth` are left
        self._scores = np.empty((len(queries), 0), dtype=np.float32)
        self._docids = np.empty((len(queries), 0), dtype=object)

    def add(self, docids: list[str], vectors: NDArray[np.float32]) -> None:
        names = np.broadcast_to(np.array(docids, dtype=object), (len(self._queries), len(docids)))
        scores = np.hstack([self._scores, self._queries @ vectors.T])
        found = np.hstack([self._docids, names])
        best = np.argpartition(-scores, min(self._depth, scores.shape[1]) - 1, axis=1)[:, : self._depth]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._docids = np.take_along_axis(found, best, axis=1)

    def run(self) -> Run:
        rankings = zip(self._task.topics, self._docids.tolist(), self._scores.tolist(), strict=True)
        run = {qid: dict(zip(docids, scores, strict=True)) for qid, docids, scores in rankings}
        if not self._task.remove_query:
            return run
        return {
            qid: {docid: ranking[docid] for docid in ranked_docids(ranking)[: self._task.depth]}
            for qid, ranking in without_own_documents(run).items()
        }
