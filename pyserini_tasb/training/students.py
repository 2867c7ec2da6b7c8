"""The model in training: a dual encoder, or one of its teachers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from pyserini_tasb.models.backends import autocast, compute_type
from pyserini_tasb.models.bert_dot import BertDot, load_bert_dot
from pyserini_tasb.models.checkpoints import find_checkpoint, require_bi_encoder
from pyserini_tasb.models.colbert import max_sim_of_pairs
from pyserini_tasb.models.on_cpu import packs_texts, prepare_for_cpu
from pyserini_tasb.models.tokenizers import load_tokenizer, padded, require_cls_token, require_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.models.bert_cat import BertCat
    from pyserini_tasb.models.colbert import ColBert
    from pyserini_tasb.training.batches import Tokenising
    from pyserini_tasb.training.config import RunConfig, StudentConfig
    from pyserini_tasb.training.distributed import Processes
    from pyserini_tasb.training.loop import Forward
    from pyserini_tasb.training.margins import MarginScale
    from pyserini_tasb.training.optimisation import Optimisation
    from pyserini_tasb.training.sampling import Sampler


class Measured(Protocol):
    """A model's value on the validation set."""

    measure: str

    def value(self) -> float:
        """The measure now; the same in every process."""


class Computing(Protocol):
    """What a run says of its model."""

    @property
    def compute(self) -> torch.dtype:
        """The type that matrices are multiplied in."""


class Trainable(Protocol):
    """All that takes part in a run, in one process."""

    @property
    def config(self) -> RunConfig:
        """Of the run."""

    @property
    def processes(self) -> Processes:
        """All that train together."""

    @property
    def store(self) -> PairStore:
        """The pairs."""

    @property
    def sampler(self) -> Sampler:
        """Which of them make a batch."""

    @property
    def tokenising(self) -> Tokenising:
        """How their texts become tokens."""

    @property
    def student(self) -> Computing:
        """What is trained, with its tokenizer."""

    @property
    def model(self) -> torch.nn.Module:
        """What is trained."""

    @property
    def validator(self) -> Measured | None:
        """What measures it."""

    @property
    def optimisation(self) -> Optimisation:
        """What moves its weights."""

    def margin_scale(self) -> MarginScale:
        """The teachers' margins, measured."""

    def forward(self, margins: MarginScale) -> Forward:
        """From batches to losses."""


# --------
# The model in training: its weights, its tokenizer, and in which precision it computes.

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


# --------
# A teacher while it learns itself: a model that scores pairs of a query and a passage.

Pair = tuple[list[int], list[int]]
"""Token ids of a query and of a passage, each with its special tokens."""


class PairModel(Protocol):
    """Scores from tokens."""

    @property
    def module(self) -> BertCat | ColBert:
        """What is trained."""

    def scores(self, pairs: Sequence[Pair], pad_id: int, device: str) -> torch.Tensor:
        """[pairs] in fp32, with their graph if gradients are on."""

    def length(self, pair: Pair) -> int:
        """Tokens that the model reads for a pair."""


@dataclass(frozen=True)
class CatPairs:
    """`[CLS] query [SEP] passage [SEP]`, read together.

    Args:
        module: the model.
        segments: whether it tells the passage by its segment.
    """

    module: BertCat
    segments: bool

    def scores(self, pairs: Sequence[Pair], pad_id: int, device: str) -> torch.Tensor:
        """As of `PairModel`."""
        ids, mask = padded([query + passage[1:] for query, passage in pairs], pad_id, device)
        kinds = None
        if self.segments:
            kinds, _ = padded([[0] * len(query) + [1] * (len(passage) - 1) for query, passage in pairs], 0, device)
        scores: torch.Tensor = self.module(ids, mask, kinds)
        return scores

    def length(self, pair: Pair) -> int:
        """As of `PairModel`."""
        return len(pair[0]) + len(pair[1]) - 1


@dataclass(frozen=True)
class ColBertPairs:
    """Query and passage read apart, compared token by token.

    Args:
        module: the model.
        mask_id: of the [MASK] tokens that queries get.
    """

    module: ColBert
    mask_id: int

    def scores(self, pairs: Sequence[Pair], pad_id: int, device: str) -> torch.Tensor:
        """As of `PairModel`."""
        queries = padded([self.module.with_masks(query, self.mask_id) for query, _ in pairs], pad_id, device)
        passages = padded([passage for _, passage in pairs], pad_id, device)
        return max_sim_of_pairs(self.module(*queries), queries[1], self.module(*passages), passages[1])

    def length(self, pair: Pair) -> int:
        """As of `PairModel`."""
        return len(pair[1])  # what batches are sorted by; queries are short and of one length


@dataclass(frozen=True)
class PairStudent:
    """What is trained.

    Args:
        pairs: the model, with weights in fp32.
        folder: where its tokenizer is.
        tokenizer: that tokenizer.
        device: `cpu`, `cuda:0`, …
        compute: the type that matrices are multiplied in; fp32, or a reduced one under autocast.
    """

    pairs: PairModel
    folder: Path
    tokenizer: Any
    device: str
    compute: torch.dtype

    @property
    def packed(self) -> bool:
        """As of `Learner`."""
        return packs_texts(self.pairs.module.transformer)

    def length(self, item: Pair) -> int:
        """Tokens of a pair."""
        return self.pairs.length(item)

    def outputs(self, items: Sequence[Pair]) -> torch.Tensor:
        """Scores [pairs] in fp32, with their graph if gradients are on."""
        return self.pairs.scores(items, int(self.tokenizer.pad_token_id or 0), self.device)

    def autocast(self) -> torch.autocast:
        """As of `Learner`."""
        return autocast(self.compute, self.device)
