"""The model in training: a dual encoder, or one of its teachers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.backends import autocast, compute_type
from pyserini_tasb.models.bert_cat import BertCat, load_bert_cat, new_bert_cat
from pyserini_tasb.models.bert_dot import BertDot, load_bert_dot
from pyserini_tasb.models.checkpoints import find_checkpoint, kind_of, require_bi_encoder
from pyserini_tasb.models.colbert import ColBert, load_colbert, max_sim_of_pairs, new_colbert
from pyserini_tasb.models.on_cpu import prepare_for_cpu
from pyserini_tasb.models.on_gpu import device_of_inputs, prepare_for_gpu
from pyserini_tasb.models.packing import packs_texts
from pyserini_tasb.models.tokenizers import load_tokenizer, padded, require_cls_token, require_vocabulary
from pyserini_tasb.training.losses import InBatchScores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.training.batches import TrainingBatch
    from pyserini_tasb.training.config import ColBertModel, StudentConfig, TeachConfig, TeacherModel


Item = TypeVar("Item")
Pair: TypeAlias = tuple[list[int], list[int]]
"""Token ids of a query and of a passage, each with its special tokens."""


@dataclass(frozen=True)
class Student(ABC, Generic[Item]):
    """A model in training, and what it computes of an item: a text's vector, or a pair's score.

    Args:
        model: weights in fp32.
        folder: where its tokenizer is.
        tokenizer: the loaded tokenizer.
        device: `cpu`, `cuda:0`, …
        compute: the type that matrices are multiplied in; fp32, or a reduced one under autocast.
    """

    model: BertDot | BertCat | ColBert
    folder: Path
    tokenizer: Any
    device: str
    compute: torch.dtype

    @property
    @abstractmethod
    def scores_are(self) -> Literal["dot products", "cosines", "of any size"]:
        """The usual kind of its scores."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """The shape of one item's output."""

    @abstractmethod
    def items(self, batch: TrainingBatch) -> list[Item]:
        """The items of this process's share of a batch: as many blocks as `pair_scores` takes, one behind another."""

    @abstractmethod
    def block_sizes(self, batch: TrainingBatch) -> list[int]:
        """How many items each of these blocks has."""

    @abstractmethod
    def length(self, item: Item) -> int:
        """Tokens that the model reads for an item."""

    @abstractmethod
    def outputs(self, items: Sequence[Item]) -> torch.Tensor:
        """[items, …] in fp32, with their graph if gradients are on."""

    @abstractmethod
    def pair_scores(self, *blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores [b] of each query's own positive and own negative, from the outputs of a whole batch's items.

        With n > 1 negatives of each query, both are [b, n].
        """

    def in_batch_scores(self, *blocks: torch.Tensor) -> InBatchScores:
        """Scores of every query with every passage, from the outputs of a whole batch's items."""
        raise NotImplementedError(f"{type(self).__name__} scores only pairs")

    @property
    def packed(self) -> bool:
        """True if it computes without padding."""
        return packs_texts(self.model.transformer)

    @property
    def reads_on(self) -> str:
        """The device to put its token ids and masks on."""
        return device_of_inputs(self.model.transformer, self.device)

    @property
    def pad_id(self) -> int:
        """The token that fills up rectangles."""
        return int(self.tokenizer.pad_token_id or 0)

    def autocast(self) -> torch.autocast:
        """Reduced precision for what is computed inside."""
        return autocast(self.compute, self.device)


@dataclass(frozen=True)
class DualEncoder(Student[list[int]]):
    """Every text, as token ids, becomes a vector; vectors are compared by dot product."""

    model: BertDot

    @property
    def scores_are(self) -> Literal["dot products", "cosines", "of any size"]:
        """The usual kind of its scores."""
        return "cosines" if self.model.normalise else "dot products"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of a vector."""
        return (self.model.dimension,)

    def items(self, batch: TrainingBatch) -> list[list[int]]:
        """Queries, positives, negatives."""
        return [*batch.query_tokens, *batch.passage_tokens]

    def block_sizes(self, batch: TrainingBatch) -> list[int]:
        """The queries, as many positives, and n negatives of each."""
        queries, passages = len(batch.query_tokens), len(batch.passage_tokens)
        return [queries, queries, passages - queries]

    def length(self, item: Sequence[int]) -> int:
        """Tokens of a text."""
        return len(item)

    def outputs(self, items: Sequence[Sequence[int]]) -> torch.Tensor:
        """Vectors [texts, dimension]."""
        ids, mask = padded(items, self.pad_id, self.reads_on)
        vectors: torch.Tensor = self.model(ids, mask)
        return vectors

    def pair_scores(self, *blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Dot products [b] of each query with its own positive and its own negative, or [b, n] with n negatives."""
        queries, positives, negatives = blocks
        of_positives = (queries * positives).sum(dim=1)
        if len(negatives) == len(queries):
            return of_positives, (queries * negatives).sum(dim=1)
        of_negatives = (queries.unsqueeze(1) * negatives.view(len(queries), -1, queries.shape[1])).sum(dim=2)
        return of_positives.unsqueeze(1).expand_as(of_negatives), of_negatives

    def in_batch_scores(self, *blocks: torch.Tensor) -> InBatchScores:
        """Dot products of every query with every passage."""
        queries, positives, negatives = blocks
        return InBatchScores(queries @ positives.T, queries @ negatives.T)


@dataclass(frozen=True)
class PairStudent(Student[Pair]):
    """A teacher while it learns itself: it scores pairs of a query and a passage."""

    @property
    def scores_are(self) -> Literal["dot products", "cosines", "of any size"]:
        """Cross-encoders and sums over a query's tokens have no usual scale."""
        return "of any size"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """A score is a number."""
        return ()

    def items(self, batch: TrainingBatch) -> list[Pair]:
        """Each query with its positive, then each with its negative."""
        return list(zip([*batch.query_tokens, *batch.query_tokens], batch.passage_tokens, strict=True))

    def block_sizes(self, batch: TrainingBatch) -> list[int]:
        """Each query has one positive and one negative."""
        return [len(batch.query_tokens)] * 2

    def pair_scores(self, *blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The scores [b] as they are."""
        positives, negatives = blocks
        return positives, negatives


@dataclass(frozen=True)
class CrossEncoder(PairStudent):
    """A BERT_CAT: `[CLS] query [SEP] passage [SEP]`, read together.

    Args:
        segments: whether it tells the passage by its segment.
    """

    model: BertCat
    segments: bool

    def length(self, item: Pair) -> int:
        """Tokens of query and passage."""
        return len(item[0]) + len(item[1]) - 1

    def outputs(self, items: Sequence[Pair]) -> torch.Tensor:
        """Scores [pairs]."""
        ids, mask = padded([query + passage[1:] for query, passage in items], self.pad_id, self.reads_on)
        kinds = None
        if self.segments:
            segments = [[0] * len(query) + [1] * (len(passage) - 1) for query, passage in items]
            kinds, _ = padded(segments, 0, self.reads_on)
        scores: torch.Tensor = self.model(ids, mask, kinds)
        return scores


@dataclass(frozen=True)
class LateInteraction(PairStudent):
    """A ColBERT: query and passage are read apart, and compared token by token.

    Args:
        mask_id: the [MASK] token that queries get.
    """

    model: ColBert
    mask_id: int

    def length(self, item: Pair) -> int:
        """Tokens of the passage: batches are sorted by it, while queries are short and of one length."""
        return len(item[1])

    def outputs(self, items: Sequence[Pair]) -> torch.Tensor:
        """Scores [pairs]."""
        masked = [self.model.with_masks(query, self.mask_id) for query, _ in items]
        queries = padded(masked, self.pad_id, self.reads_on)
        passages = padded([passage for _, passage in items], self.pad_id, self.reads_on)
        masks = queries[1].to(self.device), passages[1].to(self.device)
        return max_sim_of_pairs(self.model(*queries), masks[0], self.model(*passages), masks[1])


def load_student(config: StudentConfig, *, device: str, precision: str) -> DualEncoder:
    """The dual encoder that training begins with.

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
    tokenizer = load_tokenizer(folder)
    require_vocabulary(tokenizer, model.transformer, str(folder))
    if config.pooling == "cls":
        require_cls_token(lambda texts: tokenizer(texts)["input_ids"], str(folder))
    compute = _prepare(model, config, device, precision)
    return DualEncoder(model, folder, tokenizer, device, compute)


def load_teacher(config: TeachConfig, *, device: str) -> CrossEncoder | LateInteraction:
    """The teacher that its training begins with.

    Raises:
        TasbError: as `load_student`; or a tokenizer that joins texts in another way than BERT's.
    """
    from pyserini_tasb.training.config import ColBertModel  # brings pydantic

    start = config.teacher
    folder = find_checkpoint(start.model, allow_bin=start.allow_bin)
    tokenizer = load_tokenizer(folder)
    if isinstance(start, ColBertModel):
        model: BertCat | ColBert = _colbert(start, folder, config.seed, tokenizer)
    else:
        model = _bert_cat(folder, config.seed)
    require_cls_token(lambda texts: tokenizer(texts)["input_ids"], str(folder))
    _require_joined_as_bert(tokenizer, folder)
    require_vocabulary(tokenizer, model.transformer, str(folder))
    compute = _prepare(model, start, device, config.precision)
    if isinstance(model, ColBert):
        return LateInteraction(model, folder, tokenizer, device, compute, int(tokenizer.mask_token_id or 0))
    segments = getattr(model.transformer.config, "type_vocab_size", 1) > 1
    return CrossEncoder(model, folder, tokenizer, device, compute, segments)


def _bert_cat(folder: Path, seed: int) -> BertCat:
    kind = kind_of(folder)
    if kind not in {"bert-dot", "bert-cat"}:
        raise _no_start(folder, "a transformer without a head, or a BERT_Cat to continue with", kind)
    return load_bert_cat(folder) if kind == "bert-cat" else new_bert_cat(folder, seed=seed)


KEPT = ("dimension", "query_masks")  # by a ColBERT that is taught further


def _colbert(start: ColBertModel, folder: Path, seed: int, tokenizer: Any) -> ColBert:
    kind = kind_of(folder)
    if kind not in {"bert-dot", "colbert"}:
        raise _no_start(folder, "a transformer without a head, or a ColBERT to continue with", kind)
    if kind == "colbert":
        model = load_colbert(folder)
        _require_kept(start, model, folder)
    else:
        given = {name: value for name in KEPT if (value := getattr(start, name)) is not None}
        model = new_colbert(folder, seed=seed, **given)
    if model.query_masks and tokenizer.mask_token_id is None:
        raise _no_start(folder, "a tokenizer with a [MASK] token, or `teacher.query_masks: 0`", "none")
    return model


def _require_kept(start: ColBertModel, model: ColBert, folder: Path) -> None:
    for name in KEPT:
        given, own = getattr(start, name), getattr(model, name)
        if given not in {None, own}:
            raise TasbError(
                where=str(folder),
                expected=f"a ColBERT with `teacher.{name}: {given}`, to continue with",
                found=str(own),
                do=f"leave out `teacher.{name}`, or start from a transformer without a head",
            )


def _no_start(folder: Path, expected: str, kind: str) -> TasbError:
    return TasbError(where=str(folder), expected=expected, found=kind, do="choose another `teacher.model`")


def _require_joined_as_bert(tokenizer: Any, folder: Path) -> None:
    """Batches are tokenised text by text; query and passage are then joined as BERT's tokenizers do."""
    query, passage = "what ranks", "a model"
    ids = [tokenizer(text)["input_ids"] for text in (query, passage)]
    joined = tokenizer(query, passage)["input_ids"]
    if joined != ids[0] + ids[1][1:]:
        raise TasbError(
            where=str(folder),
            expected="a tokenizer that writes pairs as `[CLS] query [SEP] passage [SEP]`",
            found=type(tokenizer).__name__,
            do="start from a BERT-like model (BERT, DistilBERT, MiniLM, ELECTRA)",
        )


def _prepare(
    model: BertDot | BertCat | ColBert, config: StudentConfig | TeacherModel, device: str, precision: str
) -> torch.dtype:
    """Make a model ready to be trained; return the type that it computes in."""
    set_dropout(model, config.dropout, config.attention_dropout)
    if torch.device(device).type == "cpu":
        prepare_for_cpu(model.transformer)
    model.to(device).train()
    compute = compute_type("fp32" if precision == "fp32" else "bf16", device)
    prepare_for_gpu(model.transformer, compute, trained=True)
    return compute


# In the names of the modules that hold a transformer's attention, in every BERT-like model of Hugging Face.
ATTENTION = "attention"


def set_dropout(model: torch.nn.Module, dropout: float | None, attention_dropout: float | None) -> None:
    """Set the probabilities of all dropout of a model; None leaves the model's own."""
    for name, module in model.named_modules():
        if attention_dropout is not None and isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = attention_dropout  # Llama and its like have a number in place of a module
        if attention_dropout is not None and isinstance(getattr(module, "dropout_prob", None), float):
            module.dropout_prob = attention_dropout  # so has BERT in transformers 4, where torch's operator computes it
        if isinstance(module, torch.nn.Dropout):
            # `…attention.self.dropout` (BERT), `…attention.dropout` (DistilBERT), `…attn_dropout` (GPT-2): on
            # attention's weights; `…attention.output.dropout` (BERT): on hidden states, like all others.
            on_weights = (ATTENTION in name and not name.endswith("output.dropout")) or name.endswith("attn_dropout")
            wanted = attention_dropout if on_weights else dropout
            if wanted is not None:
                module.p = wanted
