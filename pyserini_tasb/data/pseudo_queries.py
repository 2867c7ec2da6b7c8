"""Queries and qrels for a corpus that has none: documents' titles, their leading sentences, or predicted queries."""

from __future__ import annotations

import json
import os
import re
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyserini_tasb.data.false_negatives import WORD_CHARACTER, text_digest
from pyserini_tasb.errors import Argument, TasbError, argument
from pyserini_tasb.expansion.predictions import Form, form_of_predictions, read_separate
from pyserini_tasb.formats.collections import Document, documents_of, open_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.lines import visible_files
from pyserini_tasb.formats.named import as_topics
from pyserini_tasb.outputs import new_folder, require_new_folder
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.formats.collections import Collection
    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.results import StrPath


QUERIES, QRELS = "queries.tsv", "qrels.txt"
# In a folder of its own: Pyserini indexes and encodes every file of a folder.
COLLECTION = Path("collection", "documents.jsonl")
FILES = (QUERIES, QRELS, COLLECTION.as_posix())
QID_PREFIX = "pseudo-"

Source = Literal["title", "sentence", "auto"]
Fault = Literal["without_source", "without_prediction", "too_short", "repeated", "nothing_left"]
# Why documents have no pseudo-query, with the argument that decides it.
FAULTS = {
    "without_source": ("without a title or text", None),
    "without_prediction": ("without a predicted query", None),
    "too_short": ("too short ({})", argument("min_words")),
    "repeated": ("repeated for the same document", None),
    "nothing_left": ("whose query is all their text", None),
    "shared": ("whose query other documents share", None),
    "excluded": ("whose query is excluded ({})", argument("exclude")),
    "beyond_limit": ("beyond {}", argument("limit")),
}


@dataclass
class PseudoQueryCounts:
    """Counts of what became of the documents; with predicted queries, of what became of those.

    Attributes:
        predicted: the number of predicted queries; 0 without predictions.
    """

    documents: int = 0
    predicted: int = 0
    without_source: int = 0
    without_prediction: int = 0
    too_short: int = 0
    repeated: int = 0
    nothing_left: int = 0
    shared: int = 0
    excluded: int = 0
    beyond_limit: int = 0
    queries: int = 0


@dataclass(frozen=True)
class PseudoQueries(FileResult):
    """A folder with pseudo-queries. Wherever a path is taken, it stands for its path.

    Attributes:
        path: the folder.
        topics: the file of queries.
        qrels: the file that says which document each query comes from.
        corpus: the folder of passages without the words of the queries; None without `write_collection`.
        counts: the numbers of documents that gave a query or were left out.
    """

    topics: Path
    qrels: Path
    corpus: Path | None
    counts: PseudoQueryCounts

    @property
    def summary(self) -> str:
        """The numbers of queries that were written and of documents that were left out, as lines of text."""
        return self.worded(str)

    def worded(self, mention: Callable[[Argument], str]) -> str:
        """The summary, with each argument as `mention` writes it."""
        left_out = _left_out(self.counts, mention)
        predicted = f", {self.counts.predicted} predicted queries" if self.counts.predicted else ""
        lines = [
            f"{self.counts.documents} documents{predicted}" + (f"; left out: {left_out}" if left_out else ""),
            f"{self.counts.queries} pseudo-queries in {self.topics}, their documents in {self.qrels}",
        ]
        if self.corpus:
            lines.append(f"passages without the words of the queries in {self.path / COLLECTION}")
        return "\n".join(lines)


def pseudo_queries(
    corpus: StrPath,
    *,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    output: StrPath,
    source: Source = "auto",
    predictions: StrPath | Sequence[StrPath] | None = None,
    min_words: int = 3,
    max_words: int = 25,
    limit: int | None = None,
    exclude: AnyTopics | None = None,
    seed: int = 0,
    write_collection: bool = False,
    overwrite: bool = False,
) -> PseudoQueries:
    """Make training queries from the documents of a corpus. Each query is relevant to its document.

    A query that several documents share is left out. So is a query that is the whole text of its document. Letter case
    and white space do not count.

    Args:
        corpus: TSV or JSONL.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. The field `title`, or else the first of several, is the title. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        output: a new folder for `queries.tsv` and `qrels.txt`.
        source: the text that becomes a query: `title`; `sentence`, as many of the first sentences as have `min_words`
            words together; or `auto`, the title if it has `min_words` words, and sentences if not.
        predictions: queries that a model predicted for the documents, instead of `source`: the folder that `expand`
            writes with `queries_only`, or files of JSONL, a line for each document in the order of the corpus. A
            document can have several queries, and keeps all of its words.
        min_words: the fewest words of a query. Shorter queries are left out.
        max_words: the most words of a query. Longer queries are cut.
        limit: the number of queries to keep, drawn uniformly; by default all.
        exclude: queries that are not made, such as those that judge the trained model.
        seed: the random seed of `limit`.
        write_collection: also write the corpus, each document without the words that became its query.
        overwrite: replace pseudo-queries at `output`, once the new ones are complete.

    Raises:
        TasbError: the corpus does not exist, is faulty, or gives no query; the predictions are of another one; or the
            output exists.
    """
    rules = _rules(source, min_words, max_words, limit, seed)
    path, folder, inputs = Path(corpus), Path(output), [corpus, predictions, exclude]
    require_new_folder(folder, overwrite=overwrite, inputs=inputs, made=FILES)
    if predictions is not None and source != "auto":
        raise TasbError(
            expected=f"{argument('source')} or {argument('predictions')}",
            found="both",
            do="leave out one of them: queries are made of the documents, or were predicted",
        )
    collection = open_collection(path, Fields.named(fields, docid_field))
    files = None if predictions is None else _prediction_files(predictions)
    excluded = set() if exclude is None else set(map(text_digest, as_topics(exclude).values()))
    counts = PseudoQueryCounts()
    made = _queries_made(_shown(collection, "reading the corpus"), rules, files)
    if files is not None:
        made = _counted(made, counts)
    chosen = choose_queries(((document.docid, of_it) for document, of_it in made), rules, counts, excluded)
    if not counts.queries:
        raise TasbError(
            where=str(path),
            expected="documents that pseudo-queries can be made of",
            found=f"none of {counts.documents}: {_left_out(counts, format)}",
            do=f"use another {argument('source')}, or a lower {argument('min_words')}",
        )
    with new_folder(folder, overwrite=overwrite, inputs=inputs, made=FILES) as beside:
        made = _queries_made(_shown(collection, "writing the queries"), rules, files)
        _write(beside, made, chosen, rules, predicted=files is not None, write_collection=write_collection)
    written = (folder / COLLECTION).parent if write_collection else None
    return PseudoQueries(folder, folder / QUERIES, folder / QRELS, written, counts)


def _left_out(counts: PseudoQueryCounts, mention: Callable[[Argument], str]) -> str:
    return ", ".join(
        f"{number} {text.format(mention(decides)) if decides else text}"
        for kind, (text, decides) in FAULTS.items()
        if (number := getattr(counts, kind))
    )


def _shown(corpus: Collection, doing: str) -> Iterator[Document]:
    from tqdm.auto import tqdm

    yield from tqdm(documents_of(corpus), desc=doing, unit=" documents", mininterval=1.0)


def _prediction_files(predictions: StrPath | Sequence[StrPath]) -> list[Path]:
    given = [predictions] if isinstance(predictions, str | os.PathLike) else predictions
    files = [file for path in map(Path, given) for file in (visible_files(path) if path.is_dir() else [path])]
    for file in files:
        if (form := form_of_predictions(file)) is not Form.JSONL:
            raise TasbError(
                where=str(file),
                expected='JSONL, {"id": …, "predicted_queries": [query, …]}, which has the queries apart',
                found=f"predictions in the form {form.value}",
                do=f"predict with `tasb expand --model MODEL {argument('queries_only', True)}`",
            )
    if not files:
        raise TasbError(
            where=str(given[0]) if given else None,
            expected="files of predicted queries",
            found="an empty folder" if given else "none",
            do=f"predict with `tasb expand --model MODEL {argument('queries_only', True)}`",
        )
    return files


def _queries_made(
    documents: Iterable[Document], rules: PseudoQueryRules, predictions: Sequence[Path] | None
) -> Iterator[tuple[Document, Sequence[PseudoQuery | Fault]]]:
    """Each document with its queries, or with why it has none.

    Raises:
        TasbError: the predictions are of other documents.
    """
    if predictions is None:
        for document in documents:
            yield document, [pseudo_query(document, rules)]
        return
    predicted = read_separate(predictions)
    for document in documents:
        place, docid, queries = next(predicted, (str(predictions[-1]), None, []))
        if docid != document.docid:
            raise _other_predictions(place, f"predictions for {document.docid} next", f"{docid or 'the end'}")
        yield document, predicted_queries(document, queries, rules)
    if more := next(predicted, None):
        raise _other_predictions(more[0], "the end, after the last document", f"predictions for {more[1]}")


def _other_predictions(place: str, expected: str, found: str) -> TasbError:
    return TasbError(
        where=place, expected=expected, found=found, do="give the predictions of this corpus, in its order"
    )


def _counted(
    made: Iterable[tuple[Document, Sequence[PseudoQuery | Fault]]], counts: PseudoQueryCounts
) -> Iterator[tuple[Document, Sequence[PseudoQuery | Fault]]]:
    for document, queries in made:
        counts.predicted += sum(query != "without_prediction" for query in queries)
        yield document, queries


def _write(
    folder: Path,
    made: Iterable[tuple[Document, Sequence[PseudoQuery | Fault]]],
    chosen: NDArray[np.bool_],
    rules: PseudoQueryRules,
    *,
    predicted: bool,
    write_collection: bool,
) -> None:
    with ExitStack() as opened:

        def create(name: str | Path) -> Path:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            return path

        queries = opened.enter_context(create(QUERIES).open("w", encoding="utf-8", newline="\n"))
        qrels = opened.enter_context(create(QRELS).open("w", encoding="utf-8", newline="\n"))
        passages = None
        if write_collection:
            passages = opened.enter_context(create(COLLECTION).open("w", encoding="utf-8", newline="\n"))
        marks = iter(chosen.tolist())
        for document, of_it in made:
            for number, query in enumerate(of_it, 1):
                if next(marks) and isinstance(query, PseudoQuery):
                    qid = QID_PREFIX + document.docid + (f"-{number}" if predicted else "")
                    queries.write(f"{qid}\t{query.text}\n")
                    qrels.write(f"{qid} 0 {document.docid} 1\n")
            if passages is not None:
                text = whole_text(document) if predicted else without_query(document, rules)
                passages.write(json.dumps({"id": document.docid, "contents": text}, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class PseudoQueryRules:
    """Rules that say what becomes a pseudo-query.

    Args:
        source: `title`; `sentence`, the leading ones; `auto`: the title if it is long enough, else sentences.
        min_words: a shorter one is left out.
        max_words: a longer one is cut.
        limit: the number of queries to keep, drawn uniformly; None is all.
        seed: the random seed of that draw.
    """

    source: Source = "auto"
    min_words: int = 3
    max_words: int = 25
    limit: int | None = None
    seed: int = 0


def _rules(source: Source, min_words: int, max_words: int, limit: int | None, seed: int) -> PseudoQueryRules:
    if not 1 <= min_words <= max_words:
        raise TasbError(
            expected=f"{argument('min_words')} at least 1 and at most {argument('max_words')}",
            found=f"{argument('min_words', min_words)}, {argument('max_words', max_words)}",
            do="fix one of them",
        )
    if limit is not None and limit < 1:
        raise TasbError(
            expected=f"{argument('limit')} at least 1",
            found=f"{argument('limit', limit)}",
            do="leave it out to keep all",
        )
    return PseudoQueryRules(source, min_words, max_words, limit, seed)


@dataclass(frozen=True)
class PseudoQuery:
    """A query made of a document.

    Args:
        text: the text, on one line.
        rest: what the document holds besides.
    """

    text: str
    rest: str


def pseudo_query(document: Document, rules: PseudoQueryRules) -> PseudoQuery | Fault:
    """The pseudo-query of one document, or why it has none.

    A passage that is nothing but its query teaches nothing, so something must be left of the document.
    """
    text, rest = _split(document, rules)
    if not text:
        return "without_source"
    if word_count(text) < rules.min_words:
        return "too_short"
    return PseudoQuery(text, rest) if rest else "nothing_left"


def without_query(document: Document, rules: PseudoQueryRules) -> str:
    """The passage without the words that its query is made of, or would be; all of it where nothing would be left."""
    return _split(document, rules)[1] or whole_text(document)


def whole_text(document: Document) -> str:
    """Title and text of a document."""
    return f"{document.title} {document.text}".strip()


def predicted_queries(
    document: Document, texts: Sequence[str], rules: PseudoQueryRules
) -> Sequence[PseudoQuery | Fault]:
    """The queries that were predicted for one document, in their order, and why one is none; at least one of both."""
    whole = whole_text(document)
    seen, itself = set[int](), text_digest(whole)
    made: list[PseudoQuery | Fault] = []
    for predicted in texts:
        text = " ".join(first_words(predicted, rules.max_words).split())
        digest = text_digest(text)
        if word_count(text) < rules.min_words:
            made.append("too_short")
        elif digest in seen:
            made.append("repeated")
        else:
            made.append("nothing_left" if digest == itself else PseudoQuery(text, whole))
        seen.add(digest)
    return made or ["without_prediction"]


def _split(document: Document, rules: PseudoQueryRules) -> tuple[str, str]:
    by_title = rules.source == "title" or (rules.source == "auto" and word_count(document.title) >= rules.min_words)
    if by_title:
        source, rest = document.title, document.text
    else:
        source = leading_sentences(document.text, rules.min_words)
        rest = document.text[len(source) :].strip()
    text = first_words(source, rules.max_words)
    # One sentence without an end: what lies beyond the cut is left.
    rest = rest or source[len(text) :].strip()
    if not by_title and rest:
        rest = f"{document.title} {rest}".strip()
    return " ".join(text.split()), rest


_PRINTED_WORD = re.compile(rf"{WORD_CHARACTER}|(?:(?!{WORD_CHARACTER})\w)(?:(?!{WORD_CHARACTER})[^\s])*")
# Not the full stop after an initial, as in "J. Wegstein".
_SENTENCE_END = re.compile(r"(?<!\s\w)[.!?]+[\"')\]\u201d\u2019]*(?=\s|$)|[\u3002\uff01\uff1f]+|\n\s*\n")


def word_count(text: str) -> int:
    """How many words a text has."""
    return sum(1 for _ in _PRINTED_WORD.finditer(text))


def first_words(text: str, count: int) -> str:
    """A text up to the end of its `count`-th word."""
    for number, word in enumerate(_PRINTED_WORD.finditer(text), 1):
        if number == count:
            return text[: word.end()]
    return text


def leading_sentences(text: str, min_words: int) -> str:
    """The first sentences, until they have `min_words` words together; the whole text if no sentence ends there."""
    for end in _SENTENCE_END.finditer(text):
        if word_count(text[: end.end()]) >= min_words:
            return text[: end.end()]
    return text


def choose_queries(
    candidates: Iterable[tuple[str, Sequence[PseudoQuery | Fault]]],
    rules: PseudoQueryRules,
    counts: PseudoQueryCounts,
    excluded: Container[int] = (),
) -> NDArray[np.bool_]:
    """[queries and faults] True where a query is kept; 16 bytes of memory for each, and 8 for each document.

    If several documents have the same query, apart from white space and letter case, all of them are left out, because
    the query has no single answer. The draw for `limit` depends only on seed, docid and the query's number.

    Args:
        candidates: docid, and the queries of that document or why it has none.
        rules: the rules, with `limit` and its seed.
        counts: are filled.
        excluded: the digests of texts that are no queries.

    Raises:
        TasbError: a docid is there twice.
    """
    queries, lots, documents = array("Q"), array("Q"), array("Q")
    for docid, of_document in candidates:
        counts.documents += 1
        documents.append(_lot(rules.seed, docid))
        for number, query in enumerate(of_document):
            digest = 0 if isinstance(query, str) else text_digest(query.text)
            if digest in excluded:
                counts.excluded += 1
                digest = 0
            elif isinstance(query, str):
                setattr(counts, query, getattr(counts, query) + 1)
            queries.append(digest)
            lots.append(_lot(rules.seed, f"{docid} {number}") if number else documents[-1])
    digests, order = np.frombuffer(queries, np.uint64), np.frombuffer(lots, np.uint64)
    _require_distinct(np.frombuffer(documents, np.uint64))
    _, of_distinct, times = np.unique(digests, return_inverse=True, return_counts=True)
    made = digests != 0
    alone = made & (times[of_distinct] == 1)
    counts.shared = int(made.sum() - alone.sum())
    chosen = np.zeros(len(digests), dtype=np.bool_)
    drawn = np.flatnonzero(alone)
    if rules.limit is not None:
        drawn = drawn[np.argsort(order[drawn])[: rules.limit]]
    chosen[drawn] = True
    counts.queries = len(drawn)
    counts.beyond_limit = int(alone.sum()) - len(drawn)
    return chosen


def _lot(seed: int, docid: str) -> int:
    return int.from_bytes(blake2b(f"{seed} {docid}".encode(), digest_size=8).digest(), "little")


def _require_distinct(lots: NDArray[np.uint64]) -> None:
    first_and_again = np.argsort(lots, kind="stable")
    again = first_and_again[1:][np.diff(lots[first_and_again]) == 0]
    if len(again):
        numbers = ", ".join(str(number + 1) for number in np.sort(again)[:10])
        raise TasbError(
            expected="each docid once",
            found=f"{len(again)} documents with the id of an earlier one; counted from 1, documents {numbers}",
            do="rename or remove them",
        )
