"""The inputs of an adaptation, as files that all steps read: the corpus, and judged queries."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from pyserini_tasb.artifacts import file_state, whole_text_file
from pyserini_tasb.bars import hidden
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import at_home
from pyserini_tasb.formats.collections import documents_of
from pyserini_tasb.formats.named import Qrels, as_qrels, as_topics, same_ids_advice
from pyserini_tasb.outputs import new_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.formats.collections import Collection
    from pyserini_tasb.formats.named import AnyQrels, AnyTopics
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.results import StrPath


FILE = "documents.jsonl"


def digest_of_corpus(corpus: StrPath) -> str:
    """A digest of a corpus: of its content, or of more than 64 MiB, of its size and latest change.

    Raises:
        OSError: it cannot be read.
    """
    path = at_home(corpus)
    return file_state(path) if path.exists() else os.fspath(corpus)  # a prebuilt index, or READER:PATH


def write_documents(collection: Collection, folder: Path) -> int:
    """Write all documents as JSONL that Anserini, encoders and `pseudo_queries` read; return their number.

    `contents` is the whole text, as encoders read it; `title` is there again, where a document has one.

    Args:
        collection: the documents.
        folder: a new folder, or one that an interrupted call left.

    Raises:
        TasbError: faulty documents, or none; or the disk refuses.
    """
    count = 0
    with new_folder(folder, overwrite=True, made=(FILE,)) as beside:
        with (beside / FILE).open("w", encoding="utf-8", newline="\n") as out:
            documents = documents_of(collection)
            for document in tqdm(documents, desc="reading the corpus", unit=" documents", disable=hidden(None)):
                # On one line: of several, Anserini's readers take the first for the title.
                title, text = (" ".join(part.split()) for part in (document.title, document.text))
                record = {"id": document.docid, "title": title, "contents": f"{title} {text}".strip()}
                written = {key: value for key, value in record.items() if value or key == "contents"}
                out.write(json.dumps(written, ensure_ascii=False) + "\n")
                count += 1
        if not count:
            raise TasbError(expected="documents", found="none", do=f"check {argument('corpus')}")
    return count


@dataclass(frozen=True)
class Judged:
    """Queries with judgments.

    Args:
        topics: qid → text, of those that have judgments.
        qrels: their judgments.
    """

    topics: Topics
    qrels: Qrels

    @property
    def digest(self) -> str:
        """A digest of all of it."""
        content = json.dumps([self.topics, self.qrels], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


def judged_queries(topics: AnyTopics, qrels: AnyQrels) -> Judged:
    """The queries that have both a text and judgments.

    Raises:
        TasbError: a name or path does not exist, a file is faulty, or no query has both.
    """
    texts, judgments = as_topics(topics), as_qrels(qrels)
    both = [qid for qid in texts if qid in judgments]
    if not both:
        raise TasbError(
            expected=f"{argument('topics')} with judgments in {argument('qrels')}",
            found=f"none of {len(texts):,} topics",
            do=same_ids_advice(texts, judgments, "check that they belong together"),
        )
    judgments_of_both = Qrels({qid: judgments[qid] for qid in both}, name=judgments.name)
    return Judged({qid: " ".join(texts[qid].split()) for qid in both}, judgments_of_both)


def write_judged(judged: Judged, path: Path) -> None:
    """Write the topics as TSV.

    Raises:
        TasbError: the disk refuses.
    """
    path.parent.mkdir(exist_ok=True)
    with whole_text_file(path) as out:
        out.writelines(f"{qid}\t{text}\n" for qid, text in judged.topics.items())
