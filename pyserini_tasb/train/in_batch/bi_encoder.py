"""A bi-encoder that scores every query of a batch with every passage of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pyserini_tasb.encode.text_encoder import TextEncoder
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.train.config import StudentConfig
    from pyserini_tasb.train.student import Student


class InBatchTeacher:
    """An encoder card's model, frozen; texts are cut at the student's caps, so that both see the same text.

    Args:
        encoder: as after `--encoder`.
        student: whose tokens are taken as they are, where the tokenizers agree.
        caps: the student's token caps and prefixes.
        precision: to compute in.

    Raises:
        TasbError: no such encoder, or its weights are not here.
    """

    def __init__(self, encoder: str, student: Student, caps: StudentConfig, precision: Precision) -> None:
        self._encoder = TextEncoder(encoder_card(encoder), student.device)
        self._caps, self._precision = caps, precision
        card = self._encoder.card
        own = self._encoder.tokenizer
        self.shares_tokens = (
            (card.query_prefix, card.passage_prefix) == (caps.query_prefix, caps.passage_prefix)
            and type(own) is type(student.tokenizer)
            and own.get_vocab() == student.tokenizer.get_vocab()
            and own("a B-c é").input_ids == student.tokenizer("a B-c é").input_ids
        )

    def of_tokens(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Vectors [texts, dimension] of the student's tokens."""
        return self._tensor(self._encoder.encode_tokens(token_ids, precision=self._precision))

    def of_texts(self, queries: Sequence[str], passages: Sequence[str]) -> torch.Tensor:
        """Vectors [queries + passages, dimension]."""
        card, caps = self._encoder.card, self._caps
        sides = (
            (card.query_prefix, queries, caps.query_max_length),
            (card.passage_prefix, passages, caps.passage_max_length),
        )
        return torch.cat(
            [
                self._tensor(
                    self._encoder.encode([prefix + text for text in texts], max_length=cap, precision=self._precision)
                )
                for prefix, texts, cap in sides
            ]
        )

    def _tensor(self, vectors: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(vectors).to(self._encoder.device)
