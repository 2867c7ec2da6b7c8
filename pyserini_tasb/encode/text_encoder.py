"""A card's tokenizer and model, ready to turn texts into vectors (PyTorch)."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.encode.batching import batches_by_length
from pyserini_tasb.encode.padding import padded
from pyserini_tasb.encode.precision import Precision, compute_type
from pyserini_tasb.model.bert_dot import BertDot, load_bert_dot
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.model.kind import require_bi_encoder
from pyserini_tasb.model.tokenizer import require_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.recipes import EncoderCard

# Enough to keep the hardware busy, small enough that texts of one batch are of one length.
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}


class TextEncoder:
    """Tokenise, batch by length, run the model.

    Args:
        card: which model, and how it pools.
        device: `cpu`, `cuda:0`, …
        tokenizer: a hub id or folder, where it is not the model's own.

    Raises:
        TasbError: the model is not here and cannot be had, is of another kind, or has another tokenizer.
    """

    def __init__(self, card: EncoderCard, device: str = "cpu", tokenizer: str | None = None) -> None:
        from transformers import AutoTokenizer

        self.card = card
        self.device = device
        self._folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        require_bi_encoder(self._folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer or str(self._folder), trust_remote_code=False)
        self._tokenizer_lock = Lock()  # a fast tokenizer refuses a second thread while it sets its truncation
        self._models: dict[torch.dtype, BertDot] = {}
        self.dimension = self._model(card.precision).dimension
        require_vocabulary(self.tokenizer, self._model(card.precision).transformer, tokenizer or str(self._folder))
        self.pad_id = int(self.tokenizer.pad_token_id or 0)
        # A tokenizer that knows no limit says 10**30.
        self.longest = min(self.tokenizer.model_max_length, self._positions())

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int,
        precision: Precision | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [texts, dimension], row i for text i.

        Args:
            texts: what to encode.
            pairs: second segments, one for each text: `[CLS] text [SEP] pair [SEP]`.
            max_length: tokens kept of each text, special tokens included.
            precision: to compute in; by default the card's.
        """
        token_ids = self._tokenise(texts, pairs, min(max_length, self.longest)) if len(texts) else []
        return self.encode_tokens(token_ids, precision=precision)

    def encode_tokens(
        self, token_ids: Sequence[Sequence[int]], *, precision: Precision | None = None
    ) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of texts that this model's tokenizer has tokenised, special tokens included."""
        vectors = np.empty((len(token_ids), self.dimension), dtype=np.float32)
        model = self._model(precision or self.card.precision)
        budget = TOKENS_PER_BATCH[torch.device(self.device).type]
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in token_ids], budget):
                ids, mask = padded([token_ids[position] for position in batch], self.pad_id, self.device)
                vectors[batch] = model(ids, mask).cpu().numpy()
        return vectors

    def _tokenise(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[list[int]]:
        with self._tokenizer_lock:
            token_ids: list[list[int]] = self.tokenizer(
                list(texts),
                list(pairs) if pairs is not None else None,
                truncation=True,
                max_length=max_length,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
        return token_ids

    def _model(self, precision: Precision) -> BertDot:
        kind = compute_type(precision, self.device)
        if kind not in self._models:
            self._models[kind] = load_bert_dot(
                self._folder,
                pooling=self.card.pooling,
                normalise=self.card.normalise,
                precision=kind,
                allow_bin=self.card.allow_bin,
            ).to(self.device)
        return self._models[kind]

    def _positions(self) -> int:
        config = self._model(self.card.precision).transformer.config
        return int(getattr(config, "max_position_embeddings", None) or self.card.passage_max_length)
