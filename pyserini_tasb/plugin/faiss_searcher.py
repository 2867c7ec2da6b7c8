"""Adapt `FaissSearcher`: encoder names, and a check of dimensions before the first search.

Its methods are replaced in place. A subclass would switch off PRF, which Pyserini offers to this exact type only.
"""

from __future__ import annotations

import functools
from typing import Any

from pyserini_tasb.encode import TasbQueryEncoder
from pyserini_tasb.plugin.dimension import check_dimension
from pyserini_tasb.plugin.mapped_index import map_when_asked
from pyserini_tasb.plugin.names import names_tasb


def adapt(namespace: dict[str, Any]) -> None:
    """Let `FaissSearcher(index, "tasb")`, and so Pyserini's servers, know our names."""
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
