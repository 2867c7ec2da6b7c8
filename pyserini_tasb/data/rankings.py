"""Rankings to mine negatives from: a search with BM25 or in an index of vectors, or a run that exists."""

from __future__ import annotations

import logging
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.data.negatives import Ranking
from pyserini_tasb.data.pair_sources import as_run_dict
from pyserini_tasb.encoding.index_manifest import require_encoder
from pyserini_tasb.environment.java import prepare_java
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import FAISS, LUCENE, another_folder, kind_of_folder, missing_folder
from pyserini_tasb.formats.named import same_ids_advice
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.indexes.faiss_folder import require_faiss
from pyserini_tasb.indexes.opening import DenseSearch, encoders_of
from pyserini_tasb.retrieval.retrievers import VectorRetriever, index_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.indexes.opening import SearchWith
    from pyserini_tasb.indexes.torch_search import SearchPrecision
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)
# The same whatever the number of threads: the last bits of a matrix product depend on the size of the matrices.
QUERIES_PER_SEARCH = 512
EXAMPLES = 3  # shown in a message
CHECK = "check the path"


def bm25_rankings(index: StrPath, topics: Mapping[str, str], *, hits: int, threads: int) -> Iterator[Ranking]:
    """Search a Lucene index with `LuceneSearcher`: BM25 with Pyserini's own parameters.

    Args:
        index: a folder, or the name of one of Pyserini's prebuilt indexes.
        topics: qid → query.
        hits: hits for each query.
        threads: the number of threads that search; the rankings do not depend on it.

    Raises:
        TasbError: no such index.
    """
    prepare_java()
    from pyserini.search.lucene import LuceneSearcher

    name = os.fspath(index)
    _require_index(name, LUCENE)
    try:
        searcher = LuceneSearcher(name) if Path(name).is_dir() else LuceneSearcher.from_prebuilt_index(name)
    except Exception as error:  # Java's, and those of a download
        raise _not_an_index(name, LUCENE, str(error).partition("\n")[0]) from error
    if searcher is None:
        raise _no_index_of_that_name(name, LUCENE)
    return _search(searcher, topics, hits, threads)


def dense_rankings(
    index: StrPath,
    encoder: str,
    topics: Mapping[str, str],
    *,
    hits: int,
    threads: int,
    device: str,
    allow_other_encoder: bool = False,
    search_with: SearchWith = "auto",
    search_precision: SearchPrecision = "fp32",
) -> Iterator[Ranking]:
    """Search an index of vectors, with Pyserini's `FaissSearcher` or in torch, the queries encoded as a card says.

    Args:
        index: a Faiss folder, a vector folder, or the name of one of Pyserini's prebuilt indexes.
        encoder: the one that the index was made with: `tasb`, `tasb:NAME`, a folder, a hub id, a card's path.
        topics: qid → query.
        hits: hits for each query.
        threads: the number of threads that search; the rankings do not depend on it.
        device: where queries are encoded, and where torch searches: `cpu`, `cuda:0`, …
        allow_other_encoder: search although the index does not list the encoder.
        search_with: what searches: `auto`, `faiss` or `torch`, see `DenseSearch`.
        search_precision: torch's number format.

    Raises:
        TasbError: no such index or encoder, the index holds vectors of another size, or the encoder does not belong
            to it.
    """
    name = os.fspath(index)
    folder = Path(name)
    how = DenseSearch(search_with, device, search_precision, threads=threads)
    if how.needs_torch or (folder.is_dir() and how.chosen(folder) == "torch"):
        return _of_torch(index_folder(name), encoder, topics, hits, how, allow_other_encoder=allow_other_encoder)
    _require_index(name, FAISS)
    require_faiss(folder)
    prepare_java()  # Pyserini starts it for Faiss, too
    from pyserini.search.faiss import FaissSearcher

    from pyserini_tasb.encoding.encoders import TasbQueryEncoder

    query_encoder = TasbQueryEncoder(encoder, device=device)
    if allow_other_encoder and folder.is_dir():
        require_encoder(folder, query_encoder, allow_other=True)  # warns
        query_encoder.identity = None  # FaissSearcher, as we adapt it, would refuse what the caller allows
    open_index = FaissSearcher if folder.is_dir() else FaissSearcher.from_prebuilt_index
    searcher = open_index(name, query_encoder)
    if searcher is None:
        raise _no_index_of_that_name(name, FAISS)
    return _with_warning(_search(searcher, topics, hits, threads), searcher, hits)


def _of_torch(
    folder: Path, encoder: str, topics: Mapping[str, str], hits: int, how: DenseSearch, *, allow_other_encoder: bool
) -> Iterator[Ranking]:
    from pyserini_tasb.encoding.encoders import TasbQueryEncoder

    query_encoder = TasbQueryEncoder(encoder, device=how.device)
    require_encoder(folder, query_encoder, allow_other=allow_other_encoder, known=encoders_of(folder))
    retriever = VectorRetriever(str(folder), folder, query_encoder, dict(topics), how)
    return _in_chunks(retriever, topics, hits, threads=how.threads or 1)


def _in_chunks(retriever: VectorRetriever, topics: Mapping[str, str], hits: int, *, threads: int) -> Iterator[Ranking]:
    from tqdm.auto import tqdm

    remaining = iter(topics.items())
    with tqdm(total=len(topics), desc="searching", unit=" queries", mininterval=1.0) as progress:
        while chunk := dict(islice(remaining, QUERIES_PER_SEARCH)):
            for qid, found in retriever.search(chunk, hits, threads).items():
                yield Ranking(qid, list(found), np.array(list(found.values()), dtype=np.float32))
            progress.update(len(chunk))
    if warning := retriever.warning:
        LOG.warning("%s", warning)


def run_rankings(run: AnyRun, topics: Mapping[str, str], *, hits: int) -> Iterator[Ranking]:
    """Take the rankings from a run, which is read into memory whole.

    Args:
        run: its name or path, or the run itself.
        topics: qid → query; a query that the run lacks has no hits.
        hits: hits for each query, by score and then docid, as trec_eval ranks.

    Raises:
        TasbError: no such run, a faulty one, or one that has none of the queries.
    """
    rankings = as_run_dict(run)
    if topics.keys().isdisjoint(rankings):
        shown = [", ".join(islice(ids, EXAMPLES)) for ids in (topics, rankings)]
        raise TasbError(
            expected=f"a run of these queries: {shown[0]}, …",
            found=f"none of them; it has {shown[1]}, …",
            do=same_ids_advice(rankings, topics, "give the run of these topics"),
        )
    for qid in topics:
        scores = rankings.get(qid, {})
        docids = ranked_docids(scores, single_precision=False)[:hits]
        yield Ranking(qid, docids, np.array([scores[docid] for docid in docids], dtype=np.float32))


def _search(searcher: Any, topics: Mapping[str, str], hits: int, threads: int) -> Iterator[Ranking]:
    from tqdm.auto import tqdm

    remaining = iter(topics.items())
    with tqdm(total=len(topics), desc="searching", unit=" queries", mininterval=1.0) as progress:
        while chunk := dict(islice(remaining, QUERIES_PER_SEARCH)):
            found = searcher.batch_search(list(chunk.values()), list(chunk), k=hits, threads=threads)
            _require_all(chunk, found)
            for qid in chunk:
                scores = np.array([hit.score for hit in found[qid]], dtype=np.float32)
                yield Ranking(qid, [hit.docid for hit in found[qid]], scores)
            progress.update(len(chunk))


def _require_all(chunk: Mapping[str, str], found: Mapping[str, Any]) -> None:
    # Anserini logs what fails in its threads and returns the rest.
    missing = [qid for qid in chunk if qid not in found]
    if missing:
        raise TasbError(
            expected=f"rankings of {len(chunk)} queries",
            found=f"none for {len(missing)} of them: {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}",
            do="see Anserini's own error above; a run made with `python -m pyserini.search.lucene` can be given "
            f"with {argument('run')}",
        )


def _with_warning(rankings: Iterator[Ranking], searcher: Any, hits: int) -> Iterator[Ranking]:
    """The rankings; after the last of them, a warning if some were short."""
    from pyserini_tasb.indexes.quality import faiss_advice, short_lists_warning

    lengths = []
    for ranking in rankings:
        lengths.append(len(ranking.docids))
        yield ranking
    if warning := short_lists_warning(lengths, hits, searcher.docids, faiss_advice(searcher.index)):
        LOG.warning("%s", warning)


def _require_index(name: str, kind: str) -> None:
    folder = Path(name)
    if folder.is_dir() and kind_of_folder(folder) != kind:
        raise _not_an_index(name, kind, *another_folder(folder, kind, CHECK))


def _no_index_of_that_name(name: str, kind: str) -> TasbError:
    found, meant = missing_folder(Path(name))
    return _not_an_index(name, kind, f"{found}, and no prebuilt index of that name", meant or CHECK)


def _not_an_index(index: str, expected: str, found: str, do: str = CHECK) -> TasbError:
    return TasbError(where=index, expected=f"{expected}, or the name of a prebuilt one", found=found, do=do)
