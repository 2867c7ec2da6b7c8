"""The passage encoder, with the signature Pyserini calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode.precision import reduced
from pyserini_tasb.encode.text_encoder import TextEncoder
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.recipes.types import Backend


class TasbDocumentEncoder:
    """Passages to vectors, for every place where Pyserini takes a document encoder. Needs no Pyserini and no JVM.

    Args:
        model_name: what `--encoder` takes: `tasb`, `tasb:NAME`, a folder, a hub id, a card's path.
        tokenizer_name: a tokenizer that is not the model's own.
        device: `cpu`, `cuda:0`, …; by default a GPU if the back end has one.
        prefix: put before each passage with a space, as Pyserini's `--prefix`; replaces the card's prefix.
        backend: `torch`, `onnx` or `auto`, instead of the card's and of PYSERINI_TASB_BACKEND.
        others: Pyserini derives some arguments from substrings of the encoder's name; the card knows better.

    Raises:
        TasbError: no such encoder, or its weights are not here.
    """

    def __init__(
        self,
        model_name: str,
        tokenizer_name: str | None = None,
        device: str | None = None,
        prefix: str | None = None,
        *,
        backend: Backend | None = None,
        **others: Any,
    ) -> None:
        self._card = encoder_card(model_name)
        self._encoder = TextEncoder(self._card, device, tokenizer_name, backend=backend)
        self._prefix = self._card.passage_prefix if prefix is None else f"{prefix} "
        self.dimension = self._encoder.dimension

    def encode(
        self,
        texts: Sequence[str | None],
        titles: Sequence[str | None] | None = None,
        max_length: int | None = None,
        add_sep: bool = False,
        fp16: bool = False,
        **others: Any,
    ) -> NDArray[np.float32]:
        """Vectors [passages, dimension], row i for passage i.

        Args:
            texts: the passages; `None` (Pyserini's word for an empty field) is the empty text.
            titles: one for each passage, put before it; absent ones leave the passage alone.
            max_length: tokens kept of a passage, special tokens included, if fewer than the card's cap.
            add_sep: title and passage as two segments (`[CLS] title [SEP] passage [SEP]`) instead of one text.
            fp16: compute in reduced precision where the hardware has it (bf16 on CPUs).
            others: a collection's further fields, which Pyserini passes along.
        """
        passages = [text or "" for text in texts]
        pairs = None
        if titles is not None:
            headings = [title or "" for title in titles]
            if add_sep:
                passages, pairs = headings, passages
            else:
                passages = [f"{title} {text}".strip() for title, text in zip(headings, passages, strict=True)]
        cap = self._card.passage_max_length
        return self._encoder.encode(
            [self._prefix + passage for passage in passages],
            pairs,
            max_length=min(max_length or cap, cap),
            precision=reduced(self._card.precision) if fp16 else None,
        )
