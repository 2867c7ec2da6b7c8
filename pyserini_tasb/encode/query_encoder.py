"""The query encoder, with the signature Pyserini calls."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encode.precision import reduced
from pyserini_tasb.encode.query_cache import QueryCache
from pyserini_tasb.encode.text_encoder import TextEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.index_manifest import EncoderIdentity
    from pyserini_tasb.recipes.types import Backend

QUERIES_KEPT = 4_096  # 13 MB of vectors of 768 dimensions


class TasbQueryEncoder:
    """Queries to vectors, for every place where Pyserini takes a query encoder. Needs no Pyserini and no JVM.

    Args:
        encoder_dir: what `--encoder` takes: `tasb`, `tasb:NAME`, a folder, a hub id, a card's path.
        tokenizer_name: a tokenizer that is not the model's own.
        device: `cpu`, `cuda:0`, …
        prefix: put before each query with a space, as Pyserini's `--query-prefix`; replaces the card's prefix.
        fp16: compute in reduced precision where the hardware has it (bf16 on CPUs).
        backend: `torch`, `onnx` or `auto`, instead of the card's and of PYSERINI_TASB_BACKEND.
        queries_kept: so many vectors of queries are kept, for when they are asked again; 0 to encode each time.
        others: Pyserini derives some arguments from substrings of the encoder's name; the card knows better.

    Raises:
        TasbError: no such encoder, or its weights are not here.
    """

    def __init__(
        self,
        encoder_dir: str | None = None,
        tokenizer_name: str | None = None,
        device: str = "cpu",
        prefix: str | None = None,
        fp16: bool = False,
        *,
        backend: Backend | None = None,
        queries_kept: int = QUERIES_KEPT,
        **others: Any,
    ) -> None:
        if not encoder_dir:
            raise TasbError(
                expected="encoder_dir: the encoder's name, folder or hub id",
                found="no encoder_dir" + (", but encoded queries" if others.get("encoded_query_dir") else ""),
                do="pass `tasb` (pre-encoded queries are read by Pyserini's own `QueryEncoder`)",
            )
        self.name = encoder_dir
        card = encoder_card(encoder_dir)
        self._card = card.model_copy(update={"precision": reduced(card.precision)}) if fp16 else card
        self._encoder = TextEncoder(self._card, device, tokenizer_name, backend=backend, one_by_one=True)
        self._cache = QueryCache(queries_kept)
        self._prefix = self._card.query_prefix if prefix is None else f"{prefix} "
        self.dimension = self._encoder.dimension

    @functools.cached_property
    def identity(self) -> EncoderIdentity | None:
        """The identity that an index of this encoder's passages lists; None for exports of earlier versions."""
        return self._encoder.identity(self.name)

    def encode(self, query: str, max_length: int | None = None, **others: Any) -> NDArray[np.float32]:
        """The vector [dimension] of one query. `others` (a topic's further fields, say) are not used."""
        vector: NDArray[np.float32] = self.encode_batch([query], max_length)[0]
        return vector

    def encode_batch(self, queries: Sequence[str], max_length: int | None = None) -> NDArray[np.float32]:
        """Vectors [queries, dimension].

        Args:
            queries: `None` and empty queries become the vector of the empty text.
            max_length: tokens kept of a query, special tokens included, if fewer than the card's cap.
        """
        cap = min(max_length or self._card.query_max_length, self._card.query_max_length)
        asked = [(self._prefix + (query or ""), cap) for query in queries]
        vectors = self._cache.known(asked)
        new = [query for query in dict.fromkeys(asked) if query not in vectors]
        if new:
            encoded = self._encoder.encode([text for text, _ in new], max_length=cap)
            vectors.update(zip(new, encoded, strict=True))
            self._cache.add(new, encoded)
        return np.stack([vectors[query] for query in asked]) if asked else np.empty((0, self.dimension), np.float32)
