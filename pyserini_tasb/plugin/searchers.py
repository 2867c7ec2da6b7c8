"""Adapters for Pyserini's Faiss and Lucene searchers: encoder names, and whether index and encoder belong together."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.encoding.encoders import TasbQueryEncoder
from pyserini_tasb.encoding.index_manifest import index_encoders, require_among, require_encoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes.lucene_build import widen_search
from pyserini_tasb.plugin.commands import names_tasb

if TYPE_CHECKING:
    from collections.abc import Callable


SWITCH = "PYSERINI_TASB_MMAP"
_MEANS = {"": False, "0": False, "1": True}
VECTOR_FIELD = "vector"  # Anserini's Constants.VECTOR
FLAT_LIMIT = 1000  # FlatDenseSearcher's DUMMY_EF_SEARCH


def adapt_faiss_searcher(namespace: dict[str, Any]) -> None:
    """Let `FaissSearcher(index, "tasb")`, and so Pyserini's servers, know our names; check that both belong together.

    Its methods are replaced in place. A subclass would switch off PRF, which Pyserini offers to this exact type only.
    """
    searcher = namespace["FaissSearcher"]
    stock_init, stock_encoder = searcher.__init__, searcher._init_encoder_from_str  # noqa: SLF001

    @functools.wraps(stock_encoder)
    def init_encoder_from_str(encoder: str) -> Any:
        return TasbQueryEncoder(encoder) if names_tasb(encoder) else stock_encoder(encoder)

    @functools.wraps(stock_init)
    def init(self: Any, index_dir: str, query_encoder: Any, *arguments: Any, **options: Any) -> None:
        stock_init(self, index_dir, query_encoder, *arguments, **options)
        if isinstance(self.query_encoder, TasbQueryEncoder):
            check_dimension(index_dir, self.dimension, self.query_encoder)

    searcher._init_encoder_from_str = staticmethod(init_encoder_from_str)  # noqa: SLF001
    searcher.__init__ = init
    map_when_asked(searcher)
    load = searcher.load_index

    @functools.wraps(load)
    def load_index(self: Any, index_dir: str) -> Any:
        # Before minutes of reading. Pyserini has set the encoder by now.
        require_belonging(Path(index_dir), self.query_encoder)
        return load(self, index_dir)

    searcher.load_index = load_index


def require_belonging(folder: Path, encoder: Any) -> None:
    """Refuse a query encoder that does not belong to an index of ours, and an index whose files were cut short.

    Pyserini's own encoders are refused where they are known to differ: by the weights of their model, if it is on this
    machine, and by `pooling` and `l2_norm` where they have these. Encoded queries and unknown models pass.

    Args:
        folder: the folder of the index.
        encoder: a query encoder, or None.

    Raises:
        TasbError: the encoder does not belong to the index, or the index is damaged.
    """
    if isinstance(encoder, TasbQueryEncoder):
        require_encoder(folder, encoder)
        return
    known = index_encoders(folder)
    model = getattr(getattr(encoder, "model", None), "name_or_path", "")
    if known and model:
        from pyserini_tasb.models.checkpoints import find_checkpoint, weights_digest

        found: dict[str, Any] = {}
        with contextlib.suppress(TasbError, OSError):
            found["weights"] = weights_digest(find_checkpoint(model, allow_bin=True, download=False))
        if hasattr(encoder, "pooling") and hasattr(encoder, "l2_norm"):
            found |= {"pooling": encoder.pooling, "normalise": bool(encoder.l2_norm)}
        require_among(known, found, f"{type(encoder).__name__} of {model}", str(folder))


def map_when_asked(searcher: Any) -> None:
    """Replace `load_index` of Pyserini's `FaissSearcher`, in place.

    With `PYSERINI_TASB_MMAP=1` an index of any size opens at once: vectors and docids stay in their files, and come
    into memory, which the system can take back, as a search looks at them. Without it nothing is different.
    """
    stock = searcher.load_index

    @functools.wraps(stock)
    def load_index(self: Any, index_dir: str) -> tuple[Any, Any]:
        # A copy for a GPU is read whole in any case.
        if not _asked() or self.faiss_device != "cpu":
            loaded: tuple[Any, Any] = stock(self, index_dir)
            return loaded
        from pyserini_tasb.indexes.faiss_folder import open_folder

        folder = open_folder(Path(index_dir))
        return folder.index, folder.docids

    searcher.load_index = load_index


def _asked() -> bool:
    value = os.environ.get(SWITCH, "")
    if value not in _MEANS:
        raise TasbError(
            where=SWITCH,
            expected="1 to map index files, 0 or nothing to read them",
            found=value,
            do=f"export {SWITCH}=1",
        )
    return _MEANS[value]


def adapt_lucene_searcher(namespace: dict[str, Any]) -> None:
    """Let both dense searchers take `encoder="tasb"` beside the name of a Java class, and return inner products.

    With one of our encoders they also take `allow_other_encoder=True`, as `require_encoder` does.
    """
    _adapt(namespace["LuceneFlatDenseSearcher"], _refuse_beyond_limit)
    _adapt(namespace["LuceneHnswDenseSearcher"], widen_search)


def _adapt(searcher: Any, reach: Callable[[Any, int], None]) -> None:
    stock_init, stock_search, stock_batch_search = searcher.__init__, searcher.search, searcher.batch_search
    signature = inspect.signature(stock_init)

    @functools.wraps(stock_init)
    def init(self: Any, *arguments: Any, allow_other_encoder: bool = False, **options: Any) -> None:
        bound = signature.bind(self, *arguments, **options)
        self._tasb = _our_encoder(bound.arguments.get("encoder"))
        if self._tasb is not None:
            bound.arguments["encoder"] = None
        stock_init(*bound.args, **bound.kwargs)
        if self._tasb is not None:
            check_dimension(self.index_dir, _dimension(self), self._tasb)
            require_encoder(Path(self.index_dir), self._tasb, allow_other=allow_other_encoder)

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
            expected=f"at most {FLAT_LIMIT} hits: Anserini returns no more from a flat index",
            found=f"{depth} hits asked for",
            do=f"ask for {FLAT_LIMIT} hits, or search a Faiss or HNSW index",
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


def check_dimension(index: str, dimension: int, encoder: TasbQueryEncoder) -> None:
    """Raise `TasbError` where `index` holds vectors of another `dimension` than the encoder makes."""
    if dimension != encoder.dimension:
        raise TasbError(
            where=str(index),
            expected=f"vectors of {encoder.dimension} dimensions, as this query encoder makes them",
            found=f"an index of {dimension}-dimensional vectors",
            do="search with the encoder that the index was made with, or encode the corpus again with this one",
        )
