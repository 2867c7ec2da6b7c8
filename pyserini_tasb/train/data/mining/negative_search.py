"""Rankings to mine negatives from: stock Pyserini searching with BM25 or in a Faiss index, or a run that exists."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

# The same whatever the number of threads: the last bits of a matrix product depend on the size of the matrices.
QUERIES_PER_SEARCH = 512


@dataclass(frozen=True)
class Ranking:
    """One query's hits, the best first.

    Args:
        qid: the query.
        docids: of the hits.
        scores: [hits] as the searcher gave them.
    """

    qid: str
    docids: list[str]
    scores: NDArray[np.float32]


def bm25_rankings(index: str, topics: Mapping[str, str], *, depth: int, threads: int) -> Iterator[Ranking]:
    """Search a Lucene index with `LuceneSearcher`: BM25 with Pyserini's own parameters.

    Args:
        index: a folder, or the name of one of Pyserini's prebuilt indexes.
        topics: qid → query.
        depth: hits for each query.
        threads: for searching; the rankings do not depend on it.

    Raises:
        TasbError: no such index.
    """
    from pyserini.search.lucene import LuceneSearcher

    try:
        searcher = LuceneSearcher(index) if Path(index).is_dir() else LuceneSearcher.from_prebuilt_index(index)
    except Exception as error:  # Java's, and those of a download
        raise _not_an_index(index, "a Lucene index", str(error).partition("\n")[0]) from error
    if searcher is None:
        raise _not_an_index(index, "a Lucene index", "no such folder, and no prebuilt index of that name")
    return _search(searcher, topics, depth, threads)


def dense_rankings(
    index: str, encoder: str, topics: Mapping[str, str], *, depth: int, threads: int, device: str
) -> Iterator[Ranking]:
    """Search a Faiss index with `FaissSearcher`, the queries encoded as a card says.

    Args:
        index: a folder, or the name of one of Pyserini's prebuilt indexes.
        encoder: the one that the index was made with: `tasb`, `tasb:NAME`, a folder, a hub id, a card's path.
        topics: qid → query.
        depth: hits for each query.
        threads: for searching; the rankings do not depend on it.
        device: where queries are encoded: `cpu`, `cuda:0`, …

    Raises:
        TasbError: no such index or encoder, the index holds vectors of another size, or the encoder does not belong
            to it.
    """
    folder = Path(index)
    absent = [name for name in ("index", "docid") if not (folder / name).is_file()]
    if folder.is_dir() and absent:
        raise _not_an_index(index, "a folder with a Faiss index and its docids", f"no file `{'`, `'.join(absent)}`")
    from pyserini.search.faiss import FaissSearcher

    from pyserini_tasb.encode import TasbQueryEncoder

    open_index = FaissSearcher if folder.is_dir() else FaissSearcher.from_prebuilt_index
    searcher = open_index(index, TasbQueryEncoder(encoder, device=device))
    if searcher is None:
        raise _not_an_index(index, "a Faiss index", "no such folder, and no prebuilt index of that name")
    return _with_warning(_search(searcher, topics, depth, threads), searcher, depth)


def _with_warning(rankings: Iterator[Ranking], searcher: Any, depth: int) -> Iterator[Ranking]:
    """The rankings; after the last of them, a warning if some were short."""
    from pyserini_tasb.index.weakness import faiss_advice, short_lists_warning

    lengths = []
    for ranking in rankings:
        lengths.append(len(ranking.docids))
        yield ranking
    if warning := short_lists_warning(lengths, depth, searcher.docids, faiss_advice(searcher.index)):
        print(f"tasb data mine: warning: {warning}", file=sys.stderr)


def run_rankings(run: str, topics: Mapping[str, str], *, depth: int) -> Iterator[Ranking]:
    """Take the rankings from a TREC run, which is read into memory whole.

    Args:
        run: a file, or the name of a bundled run.
        topics: qid → query; a query that the run lacks has no hits.
        depth: hits for each query, by score and then docid, as trec_eval ranks.

    Raises:
        TasbError: no such run, or a faulty one.
    """
    rankings = load_run(run)
    for qid in topics:
        hits = sorted(((score, docid) for docid, score in rankings.get(qid, {}).items()), reverse=True)[:depth]
        yield Ranking(qid, [docid for _, docid in hits], np.array([score for score, _ in hits], dtype=np.float32))


def _search(searcher: Any, topics: Mapping[str, str], depth: int, threads: int) -> Iterator[Ranking]:
    from tqdm import tqdm

    remaining = iter(topics.items())
    with tqdm(total=len(topics), desc="search", unit=" queries", mininterval=1.0) as progress:
        while chunk := dict(islice(remaining, QUERIES_PER_SEARCH)):
            found = searcher.batch_search(list(chunk.values()), list(chunk), k=depth, threads=threads)
            _require_all(chunk, found)
            for qid in chunk:
                hits = [(hit.docid, hit.score) for hit in found[qid]]
                scores = np.array([score for _, score in hits], dtype=np.float32)
                yield Ranking(qid, [docid for docid, _ in hits], scores)
            progress.update(len(chunk))


def _require_all(chunk: Mapping[str, str], found: Mapping[str, Any]) -> None:
    # Anserini logs what fails in its threads and returns the rest.
    missing = [qid for qid in chunk if qid not in found]
    if missing:
        raise TasbError(
            expected=f"rankings of {len(chunk)} queries",
            found=f"none for {len(missing)} of them: {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}",
            do="see Anserini's own error above; a run made with `python -m pyserini.search.lucene` can be given "
            "with --run",
        )


def _not_an_index(index: str, expected: str, found: str) -> TasbError:
    return TasbError(
        where=index, expected=f"{expected}, or the name of a prebuilt one", found=found, do="check the path"
    )
