"""Adapt `FaissSearcher`: encoder names, and a check before the first search that index and encoder belong together.

Its methods are replaced in place. A subclass would switch off PRF, which Pyserini offers to this exact type only.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

from pyserini_tasb.encode import TasbQueryEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.index_manifest import index_encoders, require_among, require_encoder
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
        folder: of the index.
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
        from pyserini_tasb.encode.encoder_identity import weights_digest
        from pyserini_tasb.model.checkpoint import find_checkpoint

        found: dict[str, Any] = {}
        with contextlib.suppress(TasbError, OSError):
            found["weights"] = weights_digest(find_checkpoint(model, allow_bin=True, download=False))
        if hasattr(encoder, "pooling") and hasattr(encoder, "l2_norm"):
            found |= {"pooling": encoder.pooling, "normalise": bool(encoder.l2_norm)}
        require_among(known, found, f"{type(encoder).__name__} of {model}", str(folder))
