"""Sequence-to-sequence models that answer a prompt with one of two words: monoT5, duoT5 and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.model.pretrained import load_pretrained

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class Seq2SeqReranker(torch.nn.Module):
    """The log-odds of one first word of the answer against another (Nogueira et al., Findings of EMNLP 2020).

    Args:
        transformer: a Hugging Face T5 or mT5 with its head for words.
        negative: token id of the word for "not relevant".
        positive: token id of the word for "relevant".
    """

    def __init__(self, transformer: Any, negative: int, positive: int) -> None:
        super().__init__()
        self.transformer = transformer
        transformer.lm_head = _TwoWords(transformer.lm_head.weight.detach()[[negative, positive]])
        start = getattr(transformer.config, "decoder_start_token_id", None)
        self._start = int(transformer.config.pad_token_id if start is None else start)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Log-odds [prompts] in fp32, from token ids and mask [prompts, tokens].

        Args:
            input_ids: of prompts, the end-of-sequence token included.
            attention_mask: 0 where there is padding.
        """
        first = torch.full_like(input_ids[:, :1], self._start)
        logits: Tensor = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=first, use_cache=False
        ).logits
        return logits[:, 0, 1] - logits[:, 0, 0]


class _TwoWords(torch.nn.Module):
    """The head's rows of two words, multiplied in fp32: two logits near each other differ by less than bf16 can say."""

    weight: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", rows.float())

    def forward(self, states: Tensor) -> Tensor:
        return torch.nn.functional.linear(states.float(), self.weight)


def load_seq2seq_reranker(
    folder: Path, negative: int, positive: int, precision: torch.dtype = torch.float32, *, allow_bin: bool = False
) -> Seq2SeqReranker:
    """Load a folder for inference; arguments as of `Seq2SeqReranker` and `load_pretrained`.

    Raises:
        TasbError: files that cannot be read, or parameters without weights.
    """
    from transformers import AutoModelForSeq2SeqLM

    transformer = load_pretrained(AutoModelForSeq2SeqLM, folder, precision, allow_bin=allow_bin)
    return Seq2SeqReranker(transformer, negative, positive).eval()
