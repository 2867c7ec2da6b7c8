"""The steps of an adaptation: from documents to a trained retriever, and its runs of judged queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.adaptation.choices import CLUSTERS, DOCUMENTS, PAIRS, RUN, Model, expected_queries, vectors_of
from pyserini_tasb.indexes.opening import has_faiss
from pyserini_tasb.regression.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.adaptation.choices import Choices

JUDGED_TOPICS, TRAINING = "judged/topics.tsv", "training.yaml"
QUERIES, QRELS, MADE = "queries/queries.tsv", "queries/qrels.txt", "results/queries.txt"
SCORED = "mined/scored.tsv"
RUNS = {name: f"runs/{name.lower()}.txt" for name in ("BM25", "start", "adapted", "teacher")}
MINERS = {"bm25": "BM25", "student": "the student's own vectors"}
MINED_DEPTH = 200
RERANKED_DEPTH = 100  # of BM25's hits, by a teacher that reads query and passage together


def steps(choices: Choices, documents: int, judged: int) -> tuple[Step, ...]:
    """The commands, in order.

    Args:
        choices: everything that decides what they do.
        documents: the number of documents.
        judged: the number of judged queries; 0 if nothing is measured.
    """
    return tuple(_Steps(choices, documents, judged).all())


class _Steps:
    def __init__(self, choices: Choices, documents: int, judged: int) -> None:
        self._choices, self._documents, self._judged = choices, documents, judged
        per_document = choices.queries_per_document if choices.query_model else None
        self._queries = expected_queries(documents, per_document, choices.queries)
        # The first step in which a model reads all documents: how long others take is told by it.
        self._yardstick: tuple[str, float] | None = None
        self._encoded: set[str] = set()
        self._has_faiss = has_faiss()  # torch searches the vectors themselves, which takes longer

    def all(self) -> Iterator[Step]:
        """Every step."""
        choices = self._choices
        yield from self._make_queries()
        if "bm25" in choices.mine_with:
            yield self._lucene_index("bm25-passages" if choices.passages != DOCUMENTS else "bm25", choices.passages)
        if "student" in choices.mine_with:
            yield from self._encode(choices.student, choices.passages)
        for teacher in (choices.teacher, choices.in_batch_teacher):
            if teacher is not None and teacher.encodes:
                yield from self._encode(teacher, choices.passages)
        yield from (self._mine(source) for source in choices.mine_with)
        if not choices.teacher.encodes:
            yield self._score()
        yield self._pairs()
        if choices.clustered:
            yield self._cluster()
        yield self._train()
        if self._judged:
            yield from self._measure()

    def _make_queries(self) -> Iterator[Step]:
        choices = self._choices
        source: Sequence[str] = ("--source", choices.source)
        inputs = [DOCUMENTS]
        if choices.query_model:
            yield Step(
                name="predict-queries",
                summary=f"Predict {choices.queries_per_document} queries for each document",
                arguments=self._tasb(
                    *("expand", "--corpus", DOCUMENTS, "--model", choices.query_model, "--queries-only"),
                    *("--samples", str(choices.queries_per_document), "--seed", str(choices.seed)),
                    *("--output", "predicted", *self._device(), *self._allow_bin()),
                ),
                inputs=(DOCUMENTS,),
                outputs=("predicted",),
            )
            source, inputs = ("--predictions", "predicted"), [DOCUMENTS, "predicted"]
        else:
            source = (*source, "--write-collection")
        if self._judged:  # what judges the model must not train it
            source, inputs = (*source, "--exclude", JUDGED_TOPICS), [*inputs, JUDGED_TOPICS]
        yield Step(
            name="queries",
            summary="Make training queries of the documents",
            arguments=self._tasb(
                *("pseudo-queries", "--corpus", DOCUMENTS, *source),
                *("--limit", str(choices.queries), "--seed", str(choices.seed), "--output", "queries"),
            ),
            inputs=tuple(inputs),
            outputs=("queries",),
            stdout=MADE,
            shown=True,
        )

    def _lucene_index(self, name: str, corpus: str) -> Step:
        return Step(
            name=name,
            summary=f"Index {'the documents' if corpus == DOCUMENTS else 'the passages'} with Lucene, for BM25",
            arguments=(
                *("-m", "pyserini.index.lucene", "--collection", "JsonCollection", "--input", corpus),
                *("--generator", "DefaultLuceneDocumentGenerator", "--threads", "1", "--storeRaw"),
                *("--index", f"indexes/{name}"),
            ),
            inputs=(corpus.partition("/")[0],),
            outputs=(f"indexes/{name}",),
        )

    def _encode(
        self, model: Model, corpus: str, folder: str | None = None, inputs: Sequence[str] = ()
    ) -> Iterator[Step]:
        """A step, unless another one encodes the same."""
        folder = folder or vectors_of(self._choices, model, corpus)
        if folder in self._encoded:
            return
        self._encoded.add(folder)
        _, role, what = folder.split("/")
        name = f"encode-{role}-{what}"
        precision = ("--precision", self._choices.precision) if self._choices.precision else ()
        yield Step(
            name=name,
            summary=f"Encode {self._documents:,} {what} with {model.name} ({role})",
            arguments=self._tasb(
                *("encode", "--corpus", corpus, "--encoder", model.name, "--max-length", str(self._choices.max_length)),
                *("--output", folder, *(("--output-format", "faiss") if self._has_faiss else ())),
                *(*precision, *self._device()),
            ),
            inputs=(corpus.partition("/")[0], *inputs),
            outputs=(folder,),
            like=self._like(name, model.size * self._documents),
            continues=True,
        )

    def _searched(self, folder: str) -> str:
        """The folder that is searched for the vectors of `_encode`."""
        return f"{folder}/faiss" if self._has_faiss else folder

    def _like(self, name: str, work: float) -> tuple[str, float] | None:
        """How long a step takes, by the first one of which that is known; that one itself has none.

        Args:
            name: the step.
            work: bytes of weights, times the texts that are read.
        """
        if self._yardstick is None:
            self._yardstick = (name, work)
            return None
        other, its_work = self._yardstick
        return other, work / its_work

    def _mine(self, source: str) -> Step:
        choices = self._choices
        corpus, student = choices.passages, vectors_of(choices, choices.student, choices.passages)
        search: tuple[str, ...] = ("--dense-index", self._searched(student), "--encoder", choices.student.name)
        scored: tuple[str, ...] = ()
        read = student
        if source == "bm25":
            read = "indexes/bm25" if corpus == DOCUMENTS else "indexes/bm25-passages"
            search = ("--index", read)
        inputs = ["queries", corpus.partition("/")[0], read]
        if choices.teacher.encodes:
            vectors = vectors_of(choices, choices.teacher, corpus)
            scored = ("--score-with", choices.teacher.name, "--vectors", vectors, *self._allow_reversed())
            inputs.append(vectors)
        return Step(
            name=f"mine-{source}",
            summary=f"Find {choices.negatives} negatives for each query with {MINERS[source]}",
            arguments=self._tasb(
                *("mine", "--topics", QUERIES, "--qrels", QRELS, "--corpus", corpus, *search),
                *("--hits", str(MINED_DEPTH), "--per-query", str(choices.negatives), "--seed", str(choices.seed)),
                *(*scored, "--output", f"mined/{source}.tsv", *self._device()),
            ),
            inputs=tuple(dict.fromkeys(inputs)),
            outputs=(f"mined/{source}.tsv",),
        )

    def _score(self) -> Step:
        choices = self._choices
        mined = tuple(f"mined/{source}.tsv" for source in choices.mine_with)
        pairs = self._queries * (1 + choices.negatives * len(mined))
        return Step(
            name="score",
            summary=f"Score up to {pairs:,} pairs of query and passage with {choices.teacher.name}",
            arguments=self._tasb(
                *("score", "--pairs", *mined, "--corpus", choices.passages, "--topics", QUERIES),
                *("--model", choices.teacher.name, "--output", SCORED),
                *(*self._device(), *self._allow_bin(), *self._allow_reversed()),
            ),
            inputs=tuple(dict.fromkeys(("queries", choices.passages.partition("/")[0], *mined))),
            outputs=(SCORED,),
            like=self._like("score", choices.teacher.size * pairs),
        )

    def _pairs(self) -> Step:
        choices = self._choices
        mined = tuple(f"mined/{source}.tsv" for source in choices.mine_with)
        scored = mined if choices.teacher.encodes else (SCORED,)
        return Step(
            name="pairs",
            summary="Put the scored pairs into a store",
            arguments=self._tasb(
                *("pairs", "--scored-pairs", *scored, "--corpus", choices.passages, "--topics", QUERIES),
                *("--known-positives", QRELS, *self._allow_reversed(), "--output", PAIRS),
            ),
            inputs=tuple(dict.fromkeys(("queries", choices.passages.partition("/")[0], *scored))),
            outputs=(PAIRS,),
        )

    def _cluster(self) -> Step:
        choices = self._choices
        return Step(
            name="cluster",
            summary="Cluster the queries by topic",
            arguments=self._tasb(
                *("cluster", "--topics", PAIRS, "--encoder", choices.clusters_by.name),
                *("--batch-size", str(choices.batch_size), "--seed", str(choices.seed), "--output", CLUSTERS),
                *self._device(),
            ),
            inputs=(PAIRS,),
            outputs=(CLUSTERS,),
        )

    def _train(self) -> Step:
        choices, teacher = self._choices, self._choices.in_batch_teacher
        inputs = [TRAINING, PAIRS, *([CLUSTERS] if choices.clustered else [])]
        if teacher is not None and teacher.encodes:
            inputs.append(vectors_of(choices, teacher, choices.passages))
        # A step reads two passages for each query of its batch; backwards it computes twice as much as forwards.
        work = choices.student.size * choices.max_steps * choices.batch_size * 2 * 3
        return Step(
            name="train",
            summary=f"Train {choices.max_steps:,} steps from {choices.student.name}, {choices.sampling} batches",
            arguments=self._tasb("train", TRAINING),
            inputs=tuple(inputs),
            outputs=(f"{RUN}/model",),  # not all of the run: training goes on after its last checkpoint
            like=self._like("train", work),
        )

    def _measure(self) -> Iterator[Step]:
        choices = self._choices
        if "bm25" not in choices.mine_with or choices.passages != DOCUMENTS:
            yield self._lucene_index("bm25", DOCUMENTS)
        yield self._search("BM25", "indexes/bm25", "indexes/bm25")
        yield from self._encode(choices.student, DOCUMENTS)
        student = vectors_of(choices, choices.student, DOCUMENTS)
        yield self._search("start", student, self._searched(student), choices.student.name)
        adapted = Model(
            f"tasb:{RUN}/model/{choices.name}.yaml", choices.student.card, choices.student.kind, choices.student.size
        )
        vectors = "vectors/adapted/documents"
        yield from self._encode(adapted, DOCUMENTS, vectors, [f"{RUN}/model"])
        yield self._search("adapted", vectors, self._searched(vectors), adapted.name, [f"{RUN}/model"])
        if choices.teacher.encodes:
            yield from self._encode(choices.teacher, DOCUMENTS)
            teacher = vectors_of(choices, choices.teacher, DOCUMENTS)
            yield self._search("teacher", teacher, self._searched(teacher), choices.teacher.name)
        else:
            yield self._rerank()

    def _search(self, name: str, read: str, index: str, encoder: str | None = None, inputs: Sequence[str] = ()) -> Step:
        run = RUNS[name]
        return Step(
            name=f"search-{name.lower()}",
            summary=f"Search the judged queries: {name}",
            arguments=self._tasb(
                *("search", "--index", index, *(("--encoder", encoder) if encoder else ())),
                *("--topics", JUDGED_TOPICS, "--tag", name, "--output", run),
                *(self._device() if encoder else ()),
            ),
            inputs=(JUDGED_TOPICS, read, *inputs),
            outputs=(run,),
        )

    def _rerank(self) -> Step:
        teacher = self._choices.teacher
        return Step(
            name="rerank-teacher",
            summary=f"Re-rank BM25's {RERANKED_DEPTH} best hits of the judged queries with {teacher.name}",
            arguments=self._tasb(
                *("rerank", "--run", RUNS["BM25"], "--model", teacher.name, "--topics", JUDGED_TOPICS),
                *(
                    "--corpus",
                    DOCUMENTS,
                    "--depth",
                    str(RERANKED_DEPTH),
                    "--tag",
                    "teacher",
                    "--output",
                    RUNS["teacher"],
                ),
                *(*self._device(), *self._allow_bin()),
            ),
            inputs=(JUDGED_TOPICS, DOCUMENTS, RUNS["BM25"]),
            outputs=(RUNS["teacher"],),
            like=self._like("rerank-teacher", teacher.size * self._judged * RERANKED_DEPTH),
        )

    def _tasb(self, *words: str) -> tuple[str, ...]:
        trusted = (word for package in self._choices.trust for word in ("--trust", package))
        return ("-m", "pyserini_tasb", *words, *trusted)

    def _device(self) -> tuple[str, ...]:
        return ("--device", self._choices.device) if self._choices.device else ()

    def _allow_bin(self) -> tuple[str, ...]:
        return ("--allow-bin",) if self._choices.allow_bin else ()

    def _allow_reversed(self) -> tuple[str, ...]:
        return ("--allow-reversed",) if self._choices.allow_reversed else ()
