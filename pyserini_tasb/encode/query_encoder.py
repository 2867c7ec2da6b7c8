"""The query encoder, with the signature Pyserini calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode.text_encoder import TextEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class TasbQueryEncoder:
    """Queries to vectors, for every place where Pyserini takes a query encoder. Needs no Pyserini and no JVM.

    Args:
        encoder_dir: what `--encoder` takes: `tasb`, `tasb:NAME`, a folder, a hub id, a card's path.
        tokenizer_name: a tokenizer that is not the model's own.
        device: `cpu`, `cuda:0`, …
        prefix: put before each query with a space, as Pyserini's `--query-prefix`; replaces the card's prefix.
        fp16: compute in reduced precision where the hardware has it (bf16 on CPUs).
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
        **others: Any,
    ) -> None:
        if not encoder_dir:
            raise TasbError(
                expected="encoder_dir: the encoder's name, folder or hub id",
                found="no encoder_dir" + (", but encoded queries" if others.get("encoded_query_dir") else ""),
                do="pass `tasb` (pre-encoded queries are read by Pyserini's own `QueryEncoder`)",
            )
        self._card = encoder_card(encoder_dir)
        self._encoder = TextEncoder(self._card, device, tokenizer_name)
        self._prefix = self._card.query_prefix if prefix is None else f"{prefix} "
        self._precision = "bf16" if fp16 else self._card.precision
        self.dimension = self._encoder.dimension

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
        cap = self._card.query_max_length
        return self._encoder.encode(
            [self._prefix + (query or "") for query in queries],
            max_length=min(max_length or cap, cap),
            precision=self._precision,
        )
