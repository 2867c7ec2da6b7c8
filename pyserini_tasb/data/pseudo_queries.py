"""`tasb pseudo-queries`: queries and qrels for a collection that has none."""

from __future__ import annotations

import json
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyserini_tasb.artifacts import new_folder, refuse_occupied
from pyserini_tasb.data.false_negatives import first_words, leading_sentences, text_digest, word_count
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import Document, read_documents

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


QUERIES, QRELS = "queries.tsv", "qrels.txt"
# In a folder of its own: Pyserini indexes and encodes every file of a folder.
COLLECTION = Path("collection", "documents.jsonl")


def run(arguments: argparse.Namespace) -> int:
    """Write queries, qrels and, if asked, the collection without the queries' words; print what was left out.

    Raises:
        TasbError: no such collection, a faulty one, no pseudo-query in it, or something stands at `--output`.
    """
    rules = _rules(arguments)
    collection, output = Path(arguments.corpus), Path(arguments.output)
    refuse_occupied(output, overwrite=False)
    counts = PseudoQueryCounts()
    chosen = choose_documents(_shown(collection, "read"), rules, counts)
    if not counts.queries:
        raise TasbError(
            where=str(collection),
            expected="documents that pseudo-queries can be made of",
            found=f"none of {counts.documents}: {_left_out(counts)}",
            do="use another --from, or a lower --min-words",
        )
    with new_folder(output) as folder:
        _write(folder, collection, chosen, rules, write_collection=arguments.write_collection)
    print(f"{counts.documents} documents: {_left_out(counts)}")
    print(f"{counts.queries} pseudo-queries in {output / QUERIES}, their documents in {output / QRELS}")
    if arguments.write_collection:
        print(f"passages without the words of the queries in {output / COLLECTION}")
    return 0


def _rules(arguments: argparse.Namespace) -> PseudoQueryRules:
    if not 1 <= arguments.min_words <= arguments.max_words:
        raise TasbError(
            expected="--min-words at least 1 and at most --max-words",
            found=f"--min-words {arguments.min_words}, --max-words {arguments.max_words}",
            do="mend one of them",
        )
    if arguments.limit is not None and arguments.limit < 1:
        raise TasbError(
            expected="--limit at least 1", found=f"--limit {arguments.limit}", do="leave it out to keep all"
        )
    return PseudoQueryRules(
        source=arguments.source,
        min_words=arguments.min_words,
        max_words=arguments.max_words,
        limit=arguments.limit,
        seed=arguments.seed,
    )


def _write(
    folder: Path, collection: Path, chosen: NDArray[np.bool_], rules: PseudoQueryRules, *, write_collection: bool
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
        for number, document in enumerate(_shown(collection, "write")):
            query = pseudo_query(document, rules)
            if chosen[number] and isinstance(query, PseudoQuery):
                qid = QID_PREFIX + document.docid
                queries.write(f"{qid}\t{query.text}\n")
                qrels.write(f"{qid} 0 {document.docid} 1\n")
            if passages is not None:
                passage = {"id": document.docid, "contents": without_query(document, rules)}
                passages.write(json.dumps(passage, ensure_ascii=False) + "\n")


def _shown(collection: Path, doing: str) -> Iterator[Document]:
    from tqdm import tqdm

    yield from tqdm(read_documents(collection), desc=doing, unit=" documents", mininterval=1.0)


def _left_out(counts: PseudoQueryCounts) -> str:
    source = {
        "without_source": "without a title or text to make one of",
        "too_short": "too short (--min-words)",
        "nothing_left": "with nothing besides it",
        "shared": "whose query other documents share",
        "beyond_limit": "beyond --limit",
    }
    return ", ".join(f"{getattr(counts, kind)} {what}" for kind, what in source.items())


# --------
# Pseudo-queries for documents without queries: their titles, or their leading sentences.

Source = Literal["title", "sentence", "auto"]
Fault = Literal["without_source", "too_short", "nothing_left"]
QID_PREFIX = "pseudo-"


@dataclass(frozen=True)
class PseudoQueryRules:
    """What becomes a pseudo-query.

    Args:
        source: `title`; `sentence`, the leading ones; `auto`: the title if it is long enough, else sentences.
        min_words: a shorter one is left out.
        max_words: a longer one is cut.
        limit: how many to keep, drawn uniformly; None: all.
        seed: of that draw.
    """

    source: Source = "auto"
    min_words: int = 3
    max_words: int = 25
    limit: int | None = None
    seed: int = 0


@dataclass
class PseudoQueryCounts:
    """What became of the documents."""

    documents: int = 0
    without_source: int = 0
    too_short: int = 0
    nothing_left: int = 0
    shared: int = 0
    beyond_limit: int = 0
    queries: int = 0


@dataclass(frozen=True)
class PseudoQuery:
    """A query made of a document.

    Args:
        text: on one line.
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
    return _split(document, rules)[1] or f"{document.title} {document.text}".strip()


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


def choose_documents(
    documents: Iterable[Document], rules: PseudoQueryRules, counts: PseudoQueryCounts
) -> NDArray[np.bool_]:
    """[documents] True where a document gets its pseudo-query; 16 bytes of memory for each document.

    A query that several documents share, apart from white space and letter case, tells none of them from the others:
    all of them are left out. The draw for `limit` depends on seed and docid alone.

    Raises:
        TasbError: a docid is there twice.
    """
    queries, lots = array("Q"), array("Q")
    for document in documents:
        counts.documents += 1
        query = pseudo_query(document, rules)
        if isinstance(query, str):
            setattr(counts, query, getattr(counts, query) + 1)
        queries.append(0 if isinstance(query, str) else text_digest(query.text))
        lots.append(_lot(rules.seed, document.docid))
    digests, order = np.frombuffer(queries, np.uint64), np.frombuffer(lots, np.uint64)
    _require_distinct(order)
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
