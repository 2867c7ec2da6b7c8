"""Adapt Pyserini's two Lucene dense searchers: they take the name of a Java class as encoder, we take ours as well."""

from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode import TasbQueryEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.index.lucene_build import widen_search
from pyserini_tasb.index_manifest import require_encoder
from pyserini_tasb.plugin.dimension import check_dimension
from pyserini_tasb.plugin.names import names_tasb

if TYPE_CHECKING:
    from collections.abc import Callable

VECTOR_FIELD = "vector"  # Anserini's Constants.VECTOR
FLAT_LIMIT = 1000  # FlatDenseSearcher's DUMMY_EF_SEARCH


def adapt(namespace: dict[str, Any]) -> None:
    """Let both searchers take `encoder="tasb"`, and return inner products."""
    _adapt(namespace["LuceneFlatDenseSearcher"], _refuse_beyond_limit)
    _adapt(namespace["LuceneHnswDenseSearcher"], widen_search)


def _adapt(searcher: Any, reach: Callable[[Any, int], None]) -> None:
    stock_init, stock_search, stock_batch_search = searcher.__init__, searcher.search, searcher.batch_search
    signature = inspect.signature(stock_init)

    @functools.wraps(stock_init)
    def init(self: Any, *arguments: Any, **options: Any) -> None:
        bound = signature.bind(self, *arguments, **options)
        self._tasb = _our_encoder(bound.arguments.get("encoder"))
        if self._tasb is not None:
            bound.arguments["encoder"] = None
        stock_init(*bound.args, **bound.kwargs)
        if self._tasb is not None:
            check_dimension(self.index_dir, _dimension(self), self._tasb)
            require_encoder(Path(self.index_dir), self._tasb)

    @functools.wraps(stock_search)
    def search(self: Any, q: str, k: int = 10) -> Any:
        if self._tasb is None:
            return stock_search(self, q, k)
        reach(self, k)
        return _inner_products(stock_search(self, self._tasb.encode(q).tolist(), k))

    @functools.wraps(stock_batch_search)
    def batch_search(self: Any, queries: list[str], qids: list[str], k: int = 10, threads: int = 4) -> Any:
        if self._tasb is None:
            return stock_batch_search(self, queries, qids, k, threads)
        reach(self, k)
        vectors = [json.dumps(vector.tolist()) for vector in self._tasb.encode_batch(queries)]
        results = stock_batch_search(self, vectors, qids, k, threads)
        _check_complete(qids, results)
        return {qid: _inner_products(hits) for qid, hits in results.items()}

    searcher.__init__, searcher.search, searcher.batch_search = init, search, batch_search


def _our_encoder(encoder: Any) -> TasbQueryEncoder | None:
    if isinstance(encoder, str) and names_tasb(encoder):
        return TasbQueryEncoder(encoder)
    return encoder if isinstance(encoder, TasbQueryEncoder) else None


def _dimension(searcher: Any) -> int:
    leaf = searcher.searcher.reader.leaves().get(0).reader()
    return int(leaf.getFieldInfos().fieldInfo(VECTOR_FIELD).getVectorDimension())


def _refuse_beyond_limit(searcher: Any, depth: int) -> None:
    if depth > FLAT_LIMIT:
        raise TasbError(
            where=searcher.index_dir,
            expected=f"at most {FLAT_LIMIT} hits: Anserini looks no further in a flat index",
            found=f"{depth} hits asked for",
            do=f"ask for {FLAT_LIMIT}, or search a Faiss or HNSW index",
        )


def _inner_products(hits: Any) -> Any:
    # Lucene's DOT_PRODUCT similarity is max((1 + inner product) / 2, 0): what lay at -1 or below comes back as -1.
    for hit in hits:
        hit.score = 2 * hit.score - 1
    return hits


def _check_complete(qids: list[str], results: dict[str, Any]) -> None:
    # Anserini logs what fails in its threads and returns the rest.
    missing = [qid for qid in qids if qid not in results]
    if missing:
        raise TasbError(
            expected=f"results for {len(qids)} queries",
            found=f"none for {len(missing)} of them: {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}",
            do="search with `--threads 1 --batch-size 1` to see Anserini's own error",
        )
