"""Scorers of pairs of a query and a passage: which class a model's name leads to, and the bi-encoder."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from pyserini_tasb.bars import hidden
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.environment.processor import require_device
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.models.checkpoints import CONFIG, Kind, find_checkpoint, kind_of, model_digest
from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.vectors import StoredVectors
    from pyserini_tasb.formats.text_store import Texts
    from pyserini_tasb.recipes.types import Backend, EncoderCard, Precision


LEAST_TOKENS = 3  # [CLS], a word, [SEP]; below what special tokens take, tokenizers cut nothing at all


class PairScorer(Protocol):
    """A model that scores pairs of a query and a passage."""

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Scores [pairs], in fp32, of query `query_rows[i]` with passage `passage_rows[i]`.

        Args:
            queries: texts of queries.
            passages: texts of passages.
            query_rows: [pairs] indices into `queries`.
            passage_rows: [pairs] indices into `passages`.
        """


@dataclass(frozen=True)
class ScoringOptions:
    """How to compute.

    Args:
        device: `cpu`, `cuda:0`, …; None: a GPU if torch has one.
        precision: None: a bi-encoder's card's, else fp32.
        query_max_length: tokens kept of a query; None: what the model is used with. Cross-encoders take no notice.
        max_length: tokens kept of a passage, or of all that is read together (cross-encoders, T5); None: as above.
        answers: the words with which a T5 answers "not relevant" and "relevant"; None: those it is known for.
        backend: what computes a bi-encoder's vectors; None: $PYSERINI_TASB_BACKEND, else the card's.
        scorer: a name of `SCORERS`; None: by the model's config.json.
        vectors: a bi-encoder's vectors of all passages; None: it computes those that are asked for.

    Raises:
        TasbError: lengths that leave no room for a text.
    """

    device: str | None = None
    precision: Precision | None = None
    query_max_length: int | None = None
    max_length: int | None = None
    answers: Sequence[str] | None = None
    backend: Backend | None = None
    scorer: str | None = None
    vectors: StoredVectors | None = None

    def __post_init__(self) -> None:
        for name, found in (("query_max_length", self.query_max_length), ("max_length", self.max_length)):
            if found is not None and found < LEAST_TOKENS:
                raise TasbError(
                    expected=f"{argument(name)} of at least {LEAST_TOKENS}: special tokens count",
                    found=str(found),
                    do="raise it, or leave it out",
                )

    @property
    def found_device(self) -> str:
        """The device, looked for if none was named."""
        import torch

        device = self.device or ("cuda:0" if torch.cuda.is_available() else "cpu")
        require_device(device)
        return device


@dataclass(frozen=True)
class ScorerRequest:
    """The model and the options that a kind of scorer is made from.

    Attributes:
        model: the model, as the user names it.
        allow_bin: accept weights in `pytorch_model.bin`, as the authors published them.
        options: how to compute.
    """

    model: str
    allow_bin: bool
    options: ScoringOptions

    @cached_property
    def card(self) -> EncoderCard:
        """The encoder card that `model` names; a model without one has a card that says so."""
        from pyserini_tasb.recipes.lookup import encoder_card  # brings pydantic

        card = encoder_card(self.model)
        return card.model_copy(update={"allow_bin": card.allow_bin or self.allow_bin})

    @cached_property
    def folder(self) -> Path:
        """The folder of the card's model.

        Raises:
            TasbError: no such model.
        """
        return find_checkpoint(self.card.model, allow_bin=self.card.allow_bin)

    @property
    def kind(self) -> Kind:
        """The kind of the model, as its config.json says."""
        return kind_of(self.folder, pooling=self.card.pooling)

    @property
    def digest(self) -> str:
        """A digest of what scores depend on; a scorer from outside may take a model that is no folder of ours.

        Raises:
            TasbError: no such model, or no such scorer.
        """
        scorer = self.options.scorer
        if scorer is None:
            return model_digest(self.model, allow_bin=self.allow_bin)
        named = f"{SCORERS.reference(scorer)} {self.model}"
        with contextlib.suppress(TasbError):
            named += model_digest(self.model, allow_bin=self.allow_bin)
        return hashlib.sha256(named.encode()).hexdigest()


SCORERS: Registry[Callable[[ScorerRequest], PairScorer]] = Registry(
    "scorer of pairs", "pair-scorers", takes=("a ScorerRequest",)
)


def load_scorer(model: str, options: ScoringOptions | None = None, *, allow_bin: bool = False) -> PairScorer:
    """The scorer that a model's name means.

    Args:
        model: what `--encoder` takes (an encoder card's name or path), or a folder or hub id of a BERT_CAT, a ColBERT,
            a monoT5 or any other cross-encoder; config.json says which of them it is, unless `options` does. A scorer
            from outside takes whatever it says.
        options: how to compute.
        allow_bin: accept weights in `pytorch_model.bin`, as the authors published them.

    Raises:
        TasbError: no such model, or one that scores nothing.
    """
    request = ScorerRequest(model, allow_bin, options or ScoringOptions())
    kind = request.options.scorer or request.kind
    if request.options.answers and kind != "seq2seq":
        raise TasbError(
            where=str(request.folder),
            expected=f"a T5 model, which answers with words, for {argument('answers')}",
            found=f"a model of the kind `{kind}`",
            do=f"leave out {argument('answers')}",
        )
    if request.options.vectors and kind != "bert-dot":
        raise TasbError(
            where=str(request.folder),
            expected=f"an encoder, which makes one vector of a text, for {argument('vectors')}",
            found=f"a model of the kind `{kind}`",
            do=f"leave out {argument('vectors')}",
        )
    return SCORERS[kind](request)


@SCORERS.register("bert-dot")
def _bi_encoder(request: ScorerRequest) -> PairScorer:
    """Dot product of an encoder's two vectors (BERT_DOT)."""
    if request.options.vectors:
        digest = model_digest(request.model, allow_bin=request.allow_bin)
        request.options.vectors.folder.require_encoder(digest, f"`{request.model}`", f"{argument('vectors')}")
    return BiEncoderScorer(request.card, request.options)


def _cross_encoder(request: ScorerRequest) -> PairScorer:
    """A cross-encoder, which reads query and passage together (BERT_CAT)."""
    from pyserini_tasb.reranking.transformer_scorers import CrossEncoderScorer

    return CrossEncoderScorer(request.folder, request.options, allow_bin=request.card.allow_bin)


SCORERS.add("bert-cat", _cross_encoder)
SCORERS.add("sequence-classifier", _cross_encoder)


@SCORERS.register("colbert")
def _colbert(request: ScorerRequest) -> PairScorer:
    """MaxSim over the vectors of tokens (ColBERT)."""
    from pyserini_tasb.reranking.transformer_scorers import ColBertScorer

    return ColBertScorer(request.folder, request.options)


@SCORERS.register("seq2seq")
def _mono_t5(request: ScorerRequest) -> PairScorer:
    """The probability that a T5 answers "true" (monoT5)."""
    from pyserini_tasb.reranking.t5_scorers import MonoT5Scorer

    return MonoT5Scorer(request.card, request.folder, request.options)


@runtime_checkable
class ListScorer(Protocol):
    """A model whose score of a passage depends on the passages beside it."""

    def score_list(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """Scores [passages], in fp32.

        Args:
            query: its text.
            passages: texts of all of them.
        """


def load_list_scorer(model: str, aggregation: str, options: ScoringOptions, *, allow_bin: bool = False) -> ListScorer:
    """The duoT5 that a model's name means.

    Args:
        model: a folder or hub id.
        aggregation: a key of `AGGREGATIONS`.
        options: how to compute.
        allow_bin: accept weights in `pytorch_model.bin`, as the authors published them.

    Raises:
        TasbError: no such model, or one that compares nothing.
    """
    request = ScorerRequest(model, allow_bin, options)
    if request.kind != "seq2seq":
        raise TasbError(
            where=str(request.folder / CONFIG),
            expected=f"a duoT5, for {argument('pairwise')}",
            found=f"a model of the kind `{request.kind}`",
            do=f"leave out {argument('pairwise')}, or name a duoT5",
        )
    from pyserini_tasb.reranking.t5_scorers import DuoT5Scorer

    return DuoT5Scorer(request.card, request.folder, options, aggregation)


TEXTS_PER_BLOCK = 1_024
PAIRS_PER_PRODUCT = 4_096


class BiEncoderScorer:
    """The encoder that a card names; its score is the dot product of the two vectors.

    Args:
        card: which model, and how it pools.
        options: how to compute.
    """

    def __init__(self, card: EncoderCard, options: ScoringOptions) -> None:
        if options.precision is not None:
            card = card.model_copy(update={"precision": options.precision})
        self._encoder = TextEncoder(card, options.found_device, backend=options.backend, texts="queries and passages")
        self._card, self._stored = card, options.vectors
        self._query_max_length = options.query_max_length or card.query_max_length
        self._passage_max_length = options.max_length or card.passage_max_length

    def score_pairs(
        self, queries: Texts, passages: Texts, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See `PairScorer`.

        Each query and passage that occurs is encoded once a call. In memory are the vectors of all these queries, of
        one block of passages, and some 30 bytes for each pair.
        """
        distinct, query_of_pair = np.unique(query_rows, return_inverse=True)
        vectors = np.empty((len(distinct), self._encoder.dimension), dtype=np.float32)
        for start, texts in _blocks(queries, distinct, "queries"):
            vectors[start : start + len(texts)] = self._encoder.encode(
                [self._card.query_prefix + text for text in texts], max_length=self._query_max_length
            )
        by_passage = np.argsort(passage_rows, kind="stable")
        distinct, first_pair = np.unique(passage_rows[by_passage], return_index=True)
        first_pair = np.append(first_pair, len(by_passage))
        scores = np.empty(len(passage_rows), dtype=np.float32)
        for start, block in self._passage_vectors(passages, distinct):
            end = first_pair[start + len(block)]
            for first in range(first_pair[start], end, PAIRS_PER_PRODUCT):
                pairs = by_passage[first : min(first + PAIRS_PER_PRODUCT, end)]
                passage_of_pair = np.searchsorted(distinct, passage_rows[pairs]) - start
                scores[pairs] = np.einsum("ij,ij->i", vectors[query_of_pair[pairs]], block[passage_of_pair])
        return scores

    def _passage_vectors(self, passages: Texts, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Each block's position in `rows`, and its vectors."""
        if self._stored:
            for start in range(0, len(rows), TEXTS_PER_BLOCK):
                yield start, self._stored.at(rows[start : start + TEXTS_PER_BLOCK])
            return
        for start, texts in _blocks(passages, rows, "passages"):
            prefixed = [self._card.passage_prefix + text for text in texts]
            yield start, self._encoder.encode(prefixed, max_length=self._passage_max_length)


def _blocks(texts: Texts, rows: NDArray[np.int64], what: str) -> Iterator[tuple[int, list[str]]]:
    """Each block's position in `rows`, and its texts."""
    from tqdm.auto import tqdm

    # One block is done before a bar is worth drawing: re-ranking comes here for every query.
    short = len(rows) <= TEXTS_PER_BLOCK
    with tqdm(
        total=len(rows), desc=f"encoding {what}", unit=f" {what}", mininterval=1.0, disable=hidden(short)
    ) as progress:
        for start in range(0, len(rows), TEXTS_PER_BLOCK):
            block = texts.texts(rows[start : start + TEXTS_PER_BLOCK])
            yield start, block
            progress.update(len(block))
