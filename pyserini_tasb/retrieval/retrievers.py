"""Retrievers, one for each input of a recipe: a Faiss folder, or a Lucene index through Pyserini's searchers."""

from __future__ import annotations

import functools
import io
import logging
import os
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Protocol

from pyserini_tasb.encoding.index_manifest import require_encoder
from pyserini_tasb.environment.prebuilt_indexes import prebuilt_index
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import FAISS, LUCENE, another_folder, at_home, missing_folder
from pyserini_tasb.formats.records import LuceneCollection
from pyserini_tasb.indexes.bm25 import WITHOUT_VECTORS, lucene_content
from pyserini_tasb.indexes.faiss_folder import is_faiss_folder, is_lucene_folder
from pyserini_tasb.indexes.lucene_build import LUCENE_ADVICE
from pyserini_tasb.indexes.opening import DenseSearch, encoders_of, is_vector_folder
from pyserini_tasb.indexes.quality import faiss_advice, short_lists_warning
from pyserini_tasb.indexes.search import ShardedIndex, search_folder
from pyserini_tasb.plugin.startup import register_encoders

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TasbQueryEncoder
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.recipes.types import Backend, FusionInput


LOG = logging.getLogger(__name__)

# Kinds of inputs.
DENSE = ("dense",)
SPARSE = ("bm25", "doct5query", "impact")


class Retriever(Protocol):
    """An open index, with what its queries need.

    Attributes:
        name: the kind of input, and the index, for messages.
    """

    @property
    def name(self) -> str: ...

    def search(self, topics: Topics, hits: int, threads: int) -> RunDict:
        """The content of a run file of these topics, best first, with scores as they are read back from it.

        Args:
            topics: the queries; a query may have no hits.
            hits: the number of documents for each query.
            threads: the number of threads that search.
        """
        ...

    @property
    def warning(self) -> str:
        """A warning about short lists in all that was found so far, with what to do; empty if none is."""
        ...

    def has_any(self, docids: Iterable[str]) -> bool:
        """True if at least one of the documents is in the index."""
        ...


def open_retriever(
    source: FusionInput,
    topics: Topics,
    device: str,
    *,
    backend: Backend | None = None,
    how: DenseSearch = DenseSearch(),  # noqa: B008 - immutable
    allow_other_encoder: bool = False,
) -> Retriever:
    """Open what an input is searched in.

    Args:
        source: an input of a recipe, with its `index`.
        topics: all that will be searched for.
        device: a dense input's encoder computes there.
        backend: the back end for a dense input's vectors, instead of the card's.
        how: what searches a dense input's vectors, if they are not in Lucene.
        allow_other_encoder: search although an index does not list the encoder.

    Raises:
        TasbError: the index does not exist, or is of another kind or dimension, or the encoder is unknown.
    """
    folder = index_folder(str(source.index))
    if source.kind not in DENSE:
        return _open_sparse(source, folder)
    return _open_dense(source, folder, topics, device, backend, how=how, allow_other_encoder=allow_other_encoder)


def _open_dense(
    source: FusionInput,
    folder: Path,
    topics: Topics,
    device: str,
    backend: Backend | None,
    *,
    how: DenseSearch,
    allow_other_encoder: bool,
) -> Retriever:
    if not is_faiss_folder(folder) and not is_lucene_folder(folder) and not is_vector_folder(folder):
        found, do = another_folder(folder, FAISS, CHECK_WHICH)
        raise _another_kind(source, "a Faiss folder, or a Lucene index of vectors", found, do)
    from pyserini_tasb.encoding.encoders import TasbQueryEncoder  # imports torch

    # Nothing kept: topics come once.
    encoder = TasbQueryEncoder(source.encoder, device=device, backend=backend, queries_kept=0)
    if not is_lucene_folder(folder):
        require_encoder(folder, encoder, allow_other=allow_other_encoder, known=encoders_of(folder))
        return VectorRetriever(_name(source), folder, encoder, topics, how)
    reader = LuceneCollection(folder).open()
    content = lucene_content(reader)
    if content in WITHOUT_VECTORS:
        raise _another_kind(source, "a Faiss folder, or a Lucene index of vectors", WITHOUT_VECTORS[content])
    register_encoders()  # where no start-up hook has done it
    from pyserini.search.lucene import LuceneFlatDenseSearcher, LuceneHnswDenseSearcher

    kind = LuceneHnswDenseSearcher if content == "HNSW vectors" else LuceneFlatDenseSearcher
    advice = LUCENE_ADVICE["lucene-hnsw" if content == "HNSW vectors" else "lucene-flat"]
    searcher = kind(str(folder), encoder=encoder, allow_other_encoder=allow_other_encoder)  # the plugin's argument
    return LuceneRetriever(_name(source), searcher, reader, advice)


def _open_sparse(source: FusionInput, folder: Path) -> Retriever:
    if not is_lucene_folder(folder):
        raise _another_kind(source, LUCENE, *another_folder(folder, LUCENE, CHECK_WHICH))
    reader = LuceneCollection(folder).open()
    content = lucene_content(reader)
    if content != "terms":
        found = WITHOUT_VECTORS.get(content, f"one of {content}")
        raise _another_kind(source, "a Lucene index of terms", found)
    searcher = _impact_searcher(source, folder) if source.kind == "impact" else _bm25_searcher(source, folder)
    return LuceneRetriever(_name(source), searcher, reader)


def _bm25_searcher(source: FusionInput, folder: Path) -> Any:
    from pyserini.search.lucene import LuceneSearcher
    from pyserini.search.lucene.__main__ import set_bm25_parameters

    searcher = LuceneSearcher(str(folder))
    said = io.StringIO()
    with redirect_stdout(said):
        # Where the recipe says nothing, it knows the parameters of some of Pyserini's own indexes by their names.
        set_bm25_parameters(searcher, source.index, source.k1, source.b)
    LOG.debug("%s: %s", _name(source), said.getvalue().strip())
    return searcher


def _impact_searcher(source: FusionInput, folder: Path) -> Any:
    from pyserini.search.lucene import LuceneImpactSearcher

    searcher = LuceneImpactSearcher(str(folder), source.encoder)
    if searcher.query_encoder is None:
        raise TasbError(
            where=str(folder),
            expected="a query encoder that Pyserini has for impact indexes, or a JSONL file of encoded queries",
            found=f"`{source.encoder}`",
            do="give the recipe's impact input such an `encoder`: a name with unicoil, splade or slim in it",
        )
    return searcher


def _name(source: FusionInput) -> str:
    return f"{source.kind} ({source.index})"


CHECK_WHICH = f"check which index is {argument('dense_index')} and which {argument('sparse_index')}"


def _another_kind(source: FusionInput, expected: str, found: str, do: str = CHECK_WHICH) -> TasbError:
    return TasbError(where=source.index, expected=expected, found=found, do=do)


def index_folder(name: str) -> Path:
    """The folder itself, or the folder of a prebuilt index of Pyserini, which is downloaded if it is missing.

    Raises:
        TasbError: the folder and the name do not exist, or the download is not possible.
    """
    path = at_home(name)
    if path.is_dir():
        return path
    if os.sep in name or name.startswith(("~", ".")) or path.exists():
        raise _not_found(name, *missing_folder(path))
    try:
        return prebuilt_index(name)
    except LookupError as error:
        no_folder, meant = missing_folder(path)
        raise _not_found(name, f"{no_folder}, and {error}", meant) from error


def _not_found(name: str, found: str, meant: str | None) -> TasbError:
    return TasbError(
        where=name,
        expected="the folder of a Faiss or Lucene index, or the name of a prebuilt index of Pyserini",
        found=found,
        do=meant or "check the path, or the recipe's `index`",
    )


class VectorRetriever:
    """A Faiss folder or a vector folder, and a query encoder.

    The search is that of `tasb search`, not `FaissSearcher.batch_search`: there the last bits of a score depend on
    which queries are searched together, and which of equal scores is kept last is left open.

    Args:
        name: the retriever's name, for messages.
        folder: the folder.
        encoder: the encoder of the queries.
        topics: all that will be searched for. They are encoded together, with the first search: a vector's last bits
            depend on what else is in the model's batch.
        how: what searches the folder.

    Raises:
        TasbError: not such a folder, a damaged one, or vectors of another dimension than the encoder's.
    """

    def __init__(self, name: str, folder: Path, encoder: TasbQueryEncoder, topics: Topics, how: DenseSearch) -> None:
        self.name = name
        self._encoder, self._topics = encoder, topics
        self._rows = {qid: row for row, qid in enumerate(topics)}
        self._lengths: list[int] = []
        self._asked = 0
        self._folder = ShardedIndex([folder], how).open(0, encoder.dimension)

    @functools.cached_property
    def _vectors(self) -> NDArray[np.float32]:
        return self._encoder.encode_batch(list(self._topics.values()))

    def search(self, topics: Topics, hits: int, threads: int) -> RunDict:
        """See `Retriever`. Faiss and torch have been told their threads."""
        docids = self._folder.docids
        found = search_folder(self._folder, self._vectors[[self._rows[qid] for qid in topics]], hits)
        self._asked = hits
        self._lengths += map(len, found)
        return {
            qid: dict(zip((docids[row] for row in of.rows.tolist()), of.scores.tolist(), strict=True))
            for qid, of in zip(topics, found, strict=True)
        }

    @property
    def warning(self) -> str:
        """See `Retriever`."""
        advice = faiss_advice(self._folder.index)
        return short_lists_warning(self._lengths, self._asked, self._folder.docids, advice)

    def has_any(self, docids: Iterable[str]) -> bool:
        """See `Retriever`. Docids are read until one is among them."""
        wanted = set(docids)
        return any(docid in wanted for docid in self._folder.docids)


# Pyserini writes scores with so many digits behind the point.
DECIMALS = 6


class LuceneRetriever:
    """Any of Pyserini's searchers that have `batch_search`: BM25, impact, flat and HNSW vectors.

    Args:
        name: the retriever's name, for messages.
        searcher: `LuceneSearcher`, `LuceneImpactSearcher`, `LuceneFlatDenseSearcher` or `LuceneHnswDenseSearcher`.
        reader: Lucene's, of the same index.
        advice: what to do where lists are short; empty where that is normal, as for BM25.
    """

    def __init__(self, name: str, searcher: Any, reader: Any, advice: str = "") -> None:
        self.name = name
        self._searcher, self._reader, self._advice = searcher, reader, advice
        self._lengths: list[int] = []
        self._asked = 0

    def search(self, topics: Topics, hits: int, threads: int) -> RunDict:
        """See `Retriever`.

        Raises:
            TasbError: Anserini cannot answer a query, or the index has a docid twice.
        """
        import jnius

        try:
            found = self._searcher.batch_search(list(topics.values()), list(topics), hits, threads)
            without = [qid for qid in topics if qid not in found]
            if without:  # some searchers only log what fails in their threads
                raise self._unanswered(topics, f"none for {', '.join(without[:3])}{', …' if len(without) > 3 else ''}")
            self._asked = hits
            self._lengths += [len(found[qid]) for qid in topics]
            return {qid: self._scores(qid, found[qid]) for qid in topics}
        except jnius.JavaException as error:
            raise self._unanswered(topics, str(error).partition("\n")[0]) from error
        finally:
            jnius.detach()  # a thread that ends attached to the JVM leaves it something to keep

    @property
    def warning(self) -> str:
        """See `Retriever`."""
        if not self._advice:
            return ""
        return short_lists_warning(self._lengths, self._asked, range(self._reader.numDocs()), self._advice)

    def _unanswered(self, topics: Topics, found: str) -> TasbError:
        return TasbError(
            where=self.name,
            expected=f"an answer to each of {len(topics)} queries, from {next(iter(topics))} on",
            found=found,
            do="search for them with `python -m pyserini.search.lucene --threads 1 --batch-size 1` to see which fails",
        )

    def _scores(self, qid: str, hits: Any) -> dict[str, float]:
        # round() gives the very number that is read where the score was printed.
        scores = {hit.docid.strip(): round(hit.score, DECIMALS) for hit in hits}
        if len(scores) < len(hits):
            raise TasbError(
                where=self.name,
                expected="each docid once",
                found=f"{len(hits)} hits for query {qid}, but only {len(scores)} docids",
                do="index the collection again without repeated documents",
            )
        return scores

    def has_any(self, docids: Iterable[str]) -> bool:
        """See `Retriever`."""
        from pyserini.pyclass import autoclass

        term = autoclass("org.apache.lucene.index.Term")
        return any(self._reader.docFreq(term("id", docid)) for docid in docids)
