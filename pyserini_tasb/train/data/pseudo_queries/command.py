"""`tasb data pseudo-queries`: queries and qrels for a collection that has none.

A passage holds the very words of its pseudo-query, so matching words is enough to find it, and a model trained on that
learns little else. `--write-collection` writes the passages without these words (the inverse cloze task, Lee et al.,
ACL 2019); the model then trains on passages that lack their titles, but searches passages that have them.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.texts.documents import Document, read_documents
from pyserini_tasb.texts.new_folder import new_folder, refuse_occupied
from pyserini_tasb.train.data.pseudo_queries.build import (
    QID_PREFIX,
    PseudoQuery,
    PseudoQueryCounts,
    PseudoQueryRules,
    choose_documents,
    pseudo_query,
    without_query,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import numpy as np
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
    collection, output = Path(arguments.collection), Path(arguments.output)
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
