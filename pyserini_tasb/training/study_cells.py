"""One cell of a study: trained, its tasks ranked, and what was measured kept in a file."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm.auto import tqdm

from pyserini_tasb.artifacts import sha256, write_whole
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.vectors import read_vector_manifest
from pyserini_tasb.errors import TasbError, shown
from pyserini_tasb.evaluation.measures import evaluate_run, parse_measures
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.named import load_qrels, load_run, load_topics
from pyserini_tasb.formats.passages import read_passages, require_texts, require_topics
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_table import ranked_docids, without_own_documents
from pyserini_tasb.indexes.faiss_folder import OpenFolder
from pyserini_tasb.indexes.rankings import NO_RANKING, Ranking, merged
from pyserini_tasb.indexes.search import search_folder
from pyserini_tasb.indexes.torch_search import TorchFlat
from pyserini_tasb.models.checkpoints import find_checkpoint, kind_of, model_digest
from pyserini_tasb.parsing import explained, read_json
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.reranking.rerank import rerank_queries, top_of_run
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from pyserini_tasb.training.checkpoints import CHECKPOINTS, METRICS, MODEL, TEACHER_VECTORS
from pyserini_tasb.training.journal import read_metrics
from pyserini_tasb.training.train import train

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.recipes.types import EncoderCard
    from pyserini_tasb.training.config import TrainConfig
    from pyserini_tasb.training.study_config import Cell, Task


LOG = logging.getLogger(__name__)
Values = dict[str, dict[str, float]]
"""measure → qid → value."""


@dataclass(frozen=True)
class LoadedTask:
    """A task with all that it names, but for a collection that is searched: that is read for every model.

    Args:
        name: the name of the task.
        topics: qid → text, only of the judged queries.
        qrels: the judgments of those queries.
        measures: ir-measures' names.
        depth: passages of each query that are re-ranked or found.
        collection: where the passages are.
        fields: the fields of a passage's docid and text.
        tops: qid → docids to be re-ranked; None where the collection is searched.
        passages: docid → text of those.
        remove_query: a document whose docid is the query's id is neither ranked nor measured.
    """

    name: str
    topics: Topics
    qrels: QrelsDict
    measures: tuple[str, ...]
    depth: int
    collection: Path
    fields: Fields
    tops: dict[str, list[str]] | None
    passages: dict[str, str]
    remove_query: bool

    def values(self, run: RunDict) -> Values:
        """The values of a run, query by query."""
        if self.remove_query:
            run = without_own_documents(run)
        evaluation = evaluate_run(run, self.qrels, self.measures, name=self.name)
        return {
            measure: dict(zip(evaluation.queries, values.tolist(), strict=True))
            for measure, values in evaluation.per_query.items()
        }

    @property
    def digest(self) -> str:
        """A digest of what the values depend on, besides the model; a searched collection counts by path and size."""
        size = self.collection.stat().st_size if self.collection.is_file() else None
        content = (self.topics, self.qrels, self.measures, self.depth, self.tops, self.passages)
        named = [[*self.fields.names, self.fields.docid]] if self.fields.given else []
        searched = (
            None
            if self.tops is not None
            else (str(self.collection), size, *named, *(["remove_query"] * self.remove_query))
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
    fields = Fields.named(task.fields, task.docid_field)
    if task.run is None:
        open_collection(task.collection, fields)
    else:
        first = load_run(task.run, remove_query=task.remove_query)
        run = {qid: ranking for qid, ranking in first.items() if qid in qrels}
        tops = top_of_run(run, task.depth, where=f"tasks.{name}: {task.run}")
        docids = dict.fromkeys(docid for ranking in tops.values() for docid in ranking)
        passages = read_passages(task.collection, docids, fields)
        require_texts(docids, passages, where=f"tasks.{name}: {task.collection}")
    return LoadedTask(
        name,
        {qid: topics[qid] for qid in qrels},
        qrels,
        tuple(map(str, parse_measures(task.measures))),
        task.depth,
        task.collection,
        fields,
        tops,
        passages,
        task.remove_query,
    )


STATE = "training.json"
OF_A_FOLDER = ("name", "description", "output", "workers", "log_every", "checkpoint", "device")
NO_PART_OF_A_MODEL: dict[str, Any] = {
    **dict.fromkeys(OF_A_FOLDER, True),
    "data": {"allow_reversed"},
    "teacher": {"precompute", "vectors"},  # vectors count by their digests
}
SETTLED = 0.2  # of a run's steps: by then caches are warm


def what_is_trained(config: TrainConfig) -> dict[str, Any]:
    """All that a cell's model depends on, but versions and hardware."""
    vectors = config.teacher.vectors
    folders = [] if vectors is None else [path for path in (vectors.queries, vectors.passages) if path is not None]
    given = {"vectors": [read_vector_manifest(folder).digest for folder in folders]} if folders else {}
    return given | {
        "config": config.model_dump(mode="json", exclude=NO_PART_OF_A_MODEL),
        "pairs": open_pair_store(config.data.pairs).fingerprint,
        "clusters": None if config.data.clusters_file is None else _file_digest(config.data.clusters_file),
        "student": _model_digest(config.student.model, allow_bin=config.student.allow_bin),
        "teacher": None
        if config.teacher.in_batch is None
        else _model_digest(config.teacher.in_batch, allow_bin=config.teacher.allow_bin),
    }


def ensure_trained(cell: Cell, about: dict[str, Any]) -> float | None:
    """Train a cell's model to the end, unless it is; return the seconds of training that a pair took.

    A finished model's checkpoints and its teacher's vectors are removed: they would be as large as many models.

    Args:
        cell: the cell to train.
        about: `what_is_trained`.

    Raises:
        TasbError: what is in the cell's folder was trained on something else, or training failed.
    """
    about = json.loads(json.dumps(about))
    state = _state(cell.folder / STATE)
    if state is None:
        state = {"about": about, "finished": False}
        write_whole(cell.folder / STATE, json.dumps(state, indent=1))
    elif state["about"] != about:
        changed = sorted(key for key in about if state["about"].get(key) != about[key])
        raise TasbError(
            where=str(cell.folder),
            expected="a cell that was trained on what the study now says",
            found=f"one with another {', '.join(changed)} ({STATE} has it)",
            do="change it back, remove that folder to train the cell anew, or choose another `output` for a new study",
        )
    if not state["finished"]:
        LOG.info("%s", train(cell.config).summary)
        state |= {"finished": True, "seconds_per_pair": _seconds_per_pair(cell.config.output / METRICS)}
        write_whole(cell.folder / STATE, json.dumps(state, indent=1))
    for made_again in (CHECKPOINTS, TEACHER_VECTORS):
        shutil.rmtree(cell.config.output / made_again, ignore_errors=True)
    seconds: float | None = state["seconds_per_pair"]
    return seconds


def is_trained_here(folder: Path) -> bool:
    """True if training began in a cell's folder."""
    return (folder / STATE).exists()


def trained_model(cell: Cell) -> str:
    """The trained model, as `--model` takes it."""
    return str(cell.config.output / MODEL / f"{cell.config.name}.yaml")


def _state(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    expected = "what is trained here, and whether it is finished"
    with explained(path, expected=expected, do="remove the cell's folder to train it anew"):
        state = read_json(path)
        if state["finished"]:
            float(state["seconds_per_pair"] or 0)
        dict(state["about"])
    return state


def _seconds_per_pair(metrics: Path) -> float | None:
    """The median over a run's steps without its first ones; None if no step says."""
    speeds = [record.get("pairs_per_second") for record in read_metrics(metrics) if record["kind"] == "step"]
    settled = [speed for speed in speeds[int(len(speeds) * SETTLED) :] if speed]
    return 1 / float(np.median(settled)) if settled else None


@functools.cache
def _model_digest(model: str, *, allow_bin: bool) -> str:
    return model_digest(model, allow_bin=allow_bin)


@functools.cache
def _file_digest(path: Path) -> str:
    return sha256(path)


PASSAGES_AT_ONCE = 4_096
# Each search scores its hits again, so that few searches of many vectors take less time.
SEARCHED_BYTES = 1 << 30


def rank_tasks(model: str, tasks: Sequence[LoadedTask], options: ScoringOptions) -> dict[str, RunDict]:
    """Rank every task's passages with a model.

    Args:
        model: what `--model` of `tasb rerank` takes.
        tasks: the task to rank.
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
    runs: dict[str, RunDict] = {}
    for task in tasks:
        if task.tops is not None:
            run = {qid: {docid: -float(rank) for rank, docid in enumerate(docids)} for qid, docids in task.tops.items()}
            queries = rerank_queries(run, task.topics, task.passages, scorer, task.depth)
            runs[task.name] = {
                query.qid: dict(zip(query.docids, query.scores.tolist(), strict=True))
                for query in tqdm(queries, desc=task.name, total=len(run), unit=" queries", mininterval=1.0)
            }
    return runs


def _by_vectors(card: EncoderCard, tasks: Sequence[LoadedTask], options: ScoringOptions) -> dict[str, RunDict]:
    encoder = TextEncoder(card, options.found_device, texts="queries and passages")
    rankings: dict[str, _Ranking] = {}
    for task in tasks:
        texts = [card.query_prefix + text for text in task.topics.values()]
        vectors = _encoded(encoder, texts, card.query_max_length)
        rankings[task.name] = (
            _Found(task, vectors, options.found_device) if task.tops is None else _Reranked(task.tops, task, vectors)
        )
    for path, fields in dict.fromkeys((task.collection, task.fields) for task in tasks):
        here = [task for task in tasks if (task.collection, task.fields) == (path, fields)]
        searched = any(task.tops is None for task in here)
        passages: Iterable[tuple[str, str]] = open_collection(path, fields)
        if not searched:
            passages = dict(itertools.chain.from_iterable(task.passages.items() for task in here)).items()
        stream = iter(tqdm(passages, desc=f"reading {path.name}", unit=" passages", mininterval=1.0))
        while batch := list(itertools.islice(stream, PASSAGES_AT_ONCE)):
            texts = [card.passage_prefix + text for _, text in batch]
            vectors = _encoded(encoder, texts, card.passage_max_length)
            for task in here:
                rankings[task.name].add([docid for docid, _ in batch], vectors)
    return {name: ranking.run() for name, ranking in rankings.items()}


def _encoded(encoder: TextEncoder, texts: Sequence[str], max_length: int) -> NDArray[np.float32]:
    vectors = encoder.encode(texts, max_length=max_length)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise TasbError(
            where=shown(texts[wrong[0]]),
            expected="a vector of finite numbers",
            found=f"{len(wrong)} of {len(texts)} texts have others",
            do="check the model's weights, such as the learning rate that they were trained with; where they overflow "
            "in bf16 or fp16, compute in fp32",
        )
    return vectors


class _Ranking(Protocol):
    """Scores of one task's queries with passages that come batch by batch."""

    def add(self, docids: list[str], vectors: NDArray[np.float32]) -> None: ...

    def run(self) -> RunDict: ...


class _Reranked:
    """Rankings of the passages that a run has for each query."""

    def __init__(self, tops: dict[str, list[str]], task: LoadedTask, queries: NDArray[np.float32]) -> None:
        self._query_of = {qid: queries[row] for row, qid in enumerate(task.topics) if qid in tops}
        self._qids: dict[str, list[str]] = {}
        for qid, docids in tops.items():
            for docid in docids:
                self._qids.setdefault(docid, []).append(qid)
        self._run: RunDict = {qid: {} for qid in tops}

    def add(self, docids: list[str], vectors: NDArray[np.float32]) -> None:
        for docid, vector in zip(docids, vectors, strict=True):
            for qid in self._qids.get(docid, ()):
                self._run[qid][docid] = float(self._query_of[qid] @ vector)

    def run(self) -> RunDict:
        return self._run


class _Found:
    """Rankings of the best of all passages for each query, as `tasb search` finds them.

    Args:
        task: the task.
        queries: [queries, dimension].
        device: where the passages are searched.
    """

    def __init__(self, task: LoadedTask, queries: NDArray[np.float32], device: str) -> None:
        self._task, self._queries, self._device = task, queries, device
        self._depth = task.depth + task.remove_query  # so that `depth` are left
        self._rankings = [NO_RANKING] * len(queries)
        self._docids: list[str] = []
        self._vectors: list[NDArray[np.float32]] = []

    def add(self, docids: list[str], vectors: NDArray[np.float32]) -> None:
        self._docids += docids
        self._vectors.append(vectors)
        if len(self._docids) * vectors[0].nbytes >= SEARCHED_BYTES:
            self._search()

    def _search(self) -> None:
        """Search the vectors that came since the last search, and let them go."""
        if self._docids:
            index = TorchFlat(self._vectors, device=self._device)
            folder = OpenFolder(self._task.collection, index, self._docids)
            found = search_folder(folder, self._queries, self._depth)
            more = (Ranking(hits.scores, [self._docids[row] for row in hits.rows.tolist()]) for hits in found)
            pairs = zip(self._rankings, more, strict=True)
            self._rankings = [merged(both, self._depth) for both in pairs]
            self._docids, self._vectors = [], []

    def run(self) -> RunDict:
        self._search()
        rankings = zip(self._task.topics, self._rankings, strict=True)
        run = {qid: dict(zip(each.docids, each.scores.tolist(), strict=True)) for qid, each in rankings}
        if not self._task.remove_query:
            return run
        return {
            qid: {docid: ranking[docid] for docid in ranked_docids(ranking)[: self._task.depth]}
            for qid, ranking in without_own_documents(run).items()
        }


ROW, RUNS = "row.json", "runs"


@dataclass(frozen=True)
class Row:
    """One row of a study's table, of one seed.

    Args:
        values: task → measure → qid → value; without the tasks that the model cannot rank.
        about: what they depend on.
        seconds_per_pair: the median training time of a pair, in seconds; None for a model that was not trained here.
    """

    values: dict[str, Values]
    about: dict[str, Any]
    seconds_per_pair: float | None = None


def save_row(row: Row, runs: Mapping[str, RunDict], folder: Path, tag: str) -> None:
    """Write a row and its runs; the row comes last, so that where it is the rest is, too."""
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    for task, run in runs.items():
        Run(run).write(folder / RUNS / f"{task}.txt", tag=tag)
    write_row(row, folder)


def write_row(row: Row, folder: Path) -> None:
    """Write a row without runs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / ROW, json.dumps(asdict(row), indent=1))


def saved_row(folder: Path, about: Mapping[str, Any]) -> Row | None:
    """The row in a folder, if there is one and it is of this."""
    row = _row(folder)
    return row if row and row.about == _as_saved(about) else None


# Another machine makes these by the same commands, but another processor rounds its vectors in another way.
MADE_AGAIN = ("pairs", "clusters", "vectors", "teacher")


def finished_row(folder: Path, about: Mapping[str, Any]) -> Row | None:
    """The row that another machine finished, if there is one.

    It has the same configuration, student, tasks and precision. Only the digests of what that machine made of the data
    may differ: `MADE_AGAIN`.

    Args:
        folder: where it is kept.
        about: what a row depends on here.

    Raises:
        TasbError: a cell's row of something else is kept there. (Other rows are only measured again.)
    """
    row = _row(folder)
    if row is None:
        return None
    found, wanted = _portable(row.about), _portable(_as_saved(about))
    if found != wanted:
        if "training" not in about:
            return None
        changed = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise TasbError(
            where=str(folder / ROW),
            expected="a row of what the study now says, in the folder `finished`",
            found=f"one with another {', '.join(changed)}",
            do="change it back, remove that file to train the row anew, or name another folder as `finished`",
        )
    return row


def _row(folder: Path) -> Row | None:
    try:
        return Row(**read_json(folder / ROW))
    except (TasbError, TypeError):
        return None


def _as_saved(about: Mapping[str, Any]) -> dict[str, Any]:
    saved: dict[str, Any] = json.loads(json.dumps(about))
    return saved


def _portable(about: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `about` that is the same on every machine, in one level, to name what differs."""
    training = about.get("training", {})
    return {key: value for key, value in {**about, **training}.items() if key not in {"training", *MADE_AGAIN}}
