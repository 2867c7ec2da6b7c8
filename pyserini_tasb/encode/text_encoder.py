"""A card's tokenizer and model, ready to turn texts into vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode.backends.by_length import vectors_by_length
from pyserini_tasb.encode.encoder_identity import encoder_identity
from pyserini_tasb.encode.loading import Models

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.encode.backends.model import Model
    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.index_manifest import EncoderIdentity
    from pyserini_tasb.recipes import EncoderCard
    from pyserini_tasb.recipes.types import Backend


class TextEncoder:
    """Tokenise, batch by length, run the model.

    Args:
        card: which model, how it pools, and what computes it.
        device: `cpu`, `cuda:0`, …; None: a GPU if the back end has one.
        tokenizer: a hub id or folder, where it is not the model's own.
        backend: instead of the environment's (PYSERINI_TASB_BACKEND), which goes before the card's.
        one_by_one: texts will come singly, and are short: `auto` looks at latency.

    Raises:
        TasbError: the model is not here and cannot be had, is of another kind, or has another tokenizer.
    """

    def __init__(
        self,
        card: EncoderCard,
        device: str | None = "cpu",
        tokenizer: str | None = None,
        *,
        backend: Backend | None = None,
        one_by_one: bool = False,
    ) -> None:
        self.card = card
        self._models = Models(card, device, backend, one_by_one=one_by_one)
        self.device = self._models.device
        model = self._models.at(card.precision)
        self.dimension = model.dimension
        self._tokenizer = model.tokenizer(tokenizer)
        self.pad_id = self._tokenizer.pad_id
        # A tokenizer that knows no limit says 10**30.
        self.longest = min(self._tokenizer.longest, model.longest or card.passage_max_length)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, as one of transformers."""
        return self._tokenizer.hugging_face

    def identity(self, name: str) -> EncoderIdentity | None:
        """The identity that makes its vectors comparable; see `encoder_identity`.

        Args:
            name: what `--encoder` was given.
        """
        return encoder_identity(name, self.card, self._tokenizer)

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
            precision: to compute in, or better; by default the card's.
        """
        token_ids = self._tokenizer.token_ids(texts, pairs, min(max_length, self.longest)) if len(texts) else []
        return self.encode_tokens(token_ids, precision=precision)

    def encode_tokens(
        self, token_ids: Sequence[Sequence[int]], *, precision: Precision | None = None
    ) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of texts that this model's tokenizer has tokenised, special tokens included."""
        model = self._model(precision)
        return vectors_by_length(model, token_ids, pad_id=self.pad_id, dimension=self.dimension)

    def tokens_per_batch(self, precision: Precision | None = None) -> int:
        """How many tokens `encode_tokens` gives the model at once, padding included."""
        return self._model(precision).tokens_per_batch

    def computes(self, precision: Precision | None = None) -> str:
        """Back end and number format, such as `onnx fp32`."""
        return self._models.name(precision or self.card.precision)

    def _model(self, precision: Precision | None) -> Model:
        return self._models.at(precision or self.card.precision)
