"""From a recipe's input to its retriever: which of Pyserini's searchers, and whether the index is of that kind."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.index.faiss_folder import is_faiss_folder, is_lucene_folder
from pyserini_tasb.index.lucene_build import LUCENE_ADVICE
from pyserini_tasb.pipelines.hybrid.faiss_retriever import FaissRetriever
from pyserini_tasb.pipelines.hybrid.index_folder import content_of, index_folder
from pyserini_tasb.pipelines.hybrid.lucene_retriever import LuceneRetriever
from pyserini_tasb.pipelines.hybrid.recipe_inputs import DENSE
from pyserini_tasb.texts.lucene_collection import LuceneCollection

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.evaluate import Topics
    from pyserini_tasb.pipelines.hybrid.index_folder import Content
    from pyserini_tasb.pipelines.hybrid.retriever import Retriever
    from pyserini_tasb.recipes.types import FusionInput

_KIND_OF: dict[Content, str] = {"terms": "a Lucene index of terms", "nothing to search": "an empty Lucene index"}


def open_retriever(source: FusionInput, topics: Topics, device: str) -> Retriever:
    """Open what an input is searched in; `source.index` is given.

    Args:
        source: of a recipe.
        topics: all that will be searched for.
        device: of a dense input's encoder.

    Raises:
        TasbError: no such index, one of another kind or dimension, or an encoder that nobody knows.
    """
    folder = index_folder(str(source.index))
    if source.kind in DENSE:
        return _open_dense(source, folder, topics, device)
    return _open_sparse(source, folder)


def _open_dense(source: FusionInput, folder: Path, topics: Topics, device: str) -> Retriever:
    if not is_faiss_folder(folder) and not is_lucene_folder(folder):
        raise _of_other_kind(source, "a Faiss folder, or a Lucene index of vectors", "neither")
    from pyserini_tasb.encode import TasbQueryEncoder  # imports torch

    # Nothing kept: topics come once.
    encoder = TasbQueryEncoder(source.encoder, device=device, queries_kept=0)
    if is_faiss_folder(folder):
        return FaissRetriever(_said(source), folder, encoder, topics)
    reader = LuceneCollection(folder).open()
    content = content_of(reader)
    if content in _KIND_OF:
        raise _of_other_kind(source, "a Faiss folder, or a Lucene index of vectors", _KIND_OF[content])
    from pyserini.search.lucene import LuceneFlatDenseSearcher, LuceneHnswDenseSearcher

    searcher = LuceneHnswDenseSearcher if content == "HNSW vectors" else LuceneFlatDenseSearcher
    advice = LUCENE_ADVICE["lucene-hnsw" if content == "HNSW vectors" else "lucene-flat"]
    return LuceneRetriever(_said(source), searcher(str(folder), encoder=encoder), reader, advice)


def _open_sparse(source: FusionInput, folder: Path) -> Retriever:
    if not is_lucene_folder(folder):
        raise _of_other_kind(
            source, "a Lucene index", "a Faiss folder" if is_faiss_folder(folder) else "something else"
        )
    reader = LuceneCollection(folder).open()
    content = content_of(reader)
    if content != "terms":
        found = _KIND_OF.get(content, f"one of {content}")
        raise _of_other_kind(source, "a Lucene index of terms", found)
    searcher = _impact_searcher(source, folder) if source.kind == "impact" else _bm25_searcher(source, folder)
    return LuceneRetriever(_said(source), searcher, reader)


def _bm25_searcher(source: FusionInput, folder: Path) -> Any:
    from pyserini.search.lucene import LuceneSearcher
    from pyserini.search.lucene.__main__ import set_bm25_parameters

    searcher = LuceneSearcher(str(folder))
    with redirect_stdout(sys.stderr):  # it prints what it sets
        # Where the recipe says nothing, it knows the parameters of some of Pyserini's own indexes by their names.
        set_bm25_parameters(searcher, source.index, source.k1, source.b)
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


def _said(source: FusionInput) -> str:
    return f"{source.kind} ({source.index})"


def _of_other_kind(source: FusionInput, expected: str, found: str) -> TasbError:
    return TasbError(
        where=source.index,
        expected=expected,
        found=found,
        do="check which index is --dense-index and which --sparse-index",
    )
