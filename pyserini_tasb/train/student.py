"""The model in training: its weights, its tokenizer, and in which precision it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.encode.padding import padded
from pyserini_tasb.encode.precision import autocast, compute_type
from pyserini_tasb.model.bert_dot import BertDot, load_bert_dot
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.model.kind import require_bi_encoder
from pyserini_tasb.model.tokenizer import load_tokenizer, require_cls_token, require_vocabulary
from pyserini_tasb.train.on_cpu import packs_texts, prepare_for_cpu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.train.config import StudentConfig

# In the names of the modules that hold a transformer's attention, in every BERT-like model of Hugging Face.
ATTENTION = "attention"


@dataclass(frozen=True)
class Student:
    """What is trained.

    Args:
        model: weights in fp32.
        folder: where its tokenizer is.
        tokenizer: that tokenizer.
        device: `cpu`, `cuda:0`, …
        compute: the type that matrices are multiplied in; fp32, or a reduced one under autocast.
    """

    model: BertDot
    folder: Path
    tokenizer: Any
    device: str
    compute: torch.dtype

    @property
    def packed(self) -> bool:
        """As of `Learner`."""
        return packs_texts(self.model.transformer)

    def length(self, item: Sequence[int]) -> int:
        """Tokens of a text."""
        return len(item)

    def outputs(self, items: Sequence[Sequence[int]]) -> torch.Tensor:
        """Vectors [texts, dimension] of texts' token ids, in fp32, with their graph if gradients are on."""
        ids, mask = padded(items, int(self.tokenizer.pad_token_id or 0), self.device)
        vectors: torch.Tensor = self.model(ids, mask)
        return vectors

    def autocast(self) -> torch.autocast:
        """As of `Learner`."""
        return autocast(self.compute, self.device)


def load_student(config: StudentConfig, *, device: str, precision: str) -> Student:
    """The student at its start.

    Args:
        config: which model.
        device: where it trains.
        precision: `fp32`, or `bf16`: reduced where the hardware has it (bf16; fp16 on older GPUs), else fp32.

    Raises:
        TasbError: the model is not here and cannot be had, is of another kind, or has another tokenizer.
    """
    folder = find_checkpoint(config.model, allow_bin=config.allow_bin)
    require_bi_encoder(folder, pooling=config.pooling)
    model = load_bert_dot(folder, pooling=config.pooling, normalise=config.normalise, allow_bin=config.allow_bin)
    set_dropout(model, config.dropout, config.attention_dropout)
    if torch.device(device).type == "cpu":
        prepare_for_cpu(model.transformer)
    tokenizer = load_tokenizer(folder)
    require_vocabulary(tokenizer, model.transformer, str(folder))
    if config.pooling == "cls":
        require_cls_token(lambda texts: tokenizer(texts)["input_ids"], str(folder))
    compute = compute_type("fp32" if precision == "fp32" else "bf16", device)
    return Student(model.to(device).train(), folder, tokenizer, device, compute)


def set_dropout(model: torch.nn.Module, dropout: float | None, attention_dropout: float | None) -> None:
    """Set the probabilities of all dropout of a model; None leaves the model's own."""
    for name, module in model.named_modules():
        if attention_dropout is not None and isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = attention_dropout  # Llama and its like have a number in place of a module
        if isinstance(module, torch.nn.Dropout):
            # `…attention.self.dropout` (BERT), `…attention.dropout` (DistilBERT), `…attn_dropout` (GPT-2): on
            # attention's weights; `…attention.output.dropout` (BERT): on hidden states, like all others.
            on_weights = (ATTENTION in name and not name.endswith("output.dropout")) or name.endswith("attn_dropout")
            wanted = attention_dropout if on_weights else dropout
            if wanted is not None:
                module.p = wanted
