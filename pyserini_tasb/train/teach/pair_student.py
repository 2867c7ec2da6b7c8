"""A teacher while it learns itself: a model that scores pairs of a query and a passage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pyserini_tasb.encode.padding import padded
from pyserini_tasb.encode.precision import autocast
from pyserini_tasb.model.max_sim import max_sim_of_pairs
from pyserini_tasb.train.on_cpu import packs_texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from pyserini_tasb.model.bert_cat import BertCat
    from pyserini_tasb.model.colbert import ColBert

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
