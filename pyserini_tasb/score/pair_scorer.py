"""What can score a query with a passage, and which class a model's name leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.model.kind import Kind, kind_of
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.recipes import EncoderCard
    from pyserini_tasb.texts.by_index import Texts


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

    Raises:
        TasbError: lengths that leave no room for a text.
    """

    device: str | None = None
    precision: Precision | None = None
    query_max_length: int | None = None
    max_length: int | None = None
    answers: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, found in (("--query-max-length", self.query_max_length), ("--max-length", self.max_length)):
            if found is not None and found < LEAST_TOKENS:
                raise TasbError(
                    expected=f"{name} of at least {LEAST_TOKENS}: special tokens count",
                    found=str(found),
                    do="raise it, or leave it out",
                )

    @property
    def found_device(self) -> str:
        """The device, looked for if none was named."""
        import torch

        return self.device or ("cuda:0" if torch.cuda.is_available() else "cpu")


def load_scorer(model: str, options: ScoringOptions | None = None, *, allow_bin: bool = False) -> PairScorer:
    """The scorer that a model's name means.

    Args:
        model: what `--encoder` takes (an encoder card's name or path), or a folder or hub id of a BERT_CAT, a ColBERT,
            a monoT5 or any other cross-encoder; config.json says which of them it is.
        options: how to compute.
        allow_bin: accept weights in `pytorch_model.bin`, as the authors published them.

    Raises:
        TasbError: no such model, or one that scores nothing.
    """
    card, folder = find_model(model, allow_bin=allow_bin)
    kind, options = kind_of(folder, pooling=card.pooling), options or ScoringOptions()
    if options.answers and kind != "seq2seq":
        raise TasbError(
            where=str(folder),
            expected="a T5, which answers with words, for --answers",
            found=f"a model of the kind `{kind}`",
            do="leave out --answers",
        )
    return LOADERS[kind](card, folder, options)


def find_model(model: str, *, allow_bin: bool) -> tuple[EncoderCard, Path]:
    """A model's card, which says whether pickled weights are accepted, and its folder; arguments as of `load_scorer`.

    Raises:
        TasbError: no such model.
    """
    card = encoder_card(model)
    if allow_bin:
        card = card.model_copy(update={"allow_bin": True})
    return card, find_checkpoint(card.model, allow_bin=card.allow_bin)


def _bi_encoder(card: EncoderCard, _folder: Path, options: ScoringOptions) -> PairScorer:
    from pyserini_tasb.score.bi_encoder import BiEncoderScorer

    return BiEncoderScorer(card, options)


def _cross_encoder(card: EncoderCard, folder: Path, options: ScoringOptions) -> PairScorer:
    from pyserini_tasb.score.cross_encoder import CrossEncoderScorer

    return CrossEncoderScorer(folder, options, allow_bin=card.allow_bin)


def _colbert(_card: EncoderCard, folder: Path, options: ScoringOptions) -> PairScorer:
    from pyserini_tasb.score.colbert import ColBertScorer

    return ColBertScorer(folder, options)


def _mono_t5(card: EncoderCard, folder: Path, options: ScoringOptions) -> PairScorer:
    from pyserini_tasb.score.mono_t5 import MonoT5Scorer

    return MonoT5Scorer(card, folder, options)


LOADERS: dict[Kind, Callable[[EncoderCard, Path, ScoringOptions], PairScorer]] = {
    "bert-dot": _bi_encoder,
    "bert-cat": _cross_encoder,
    "sequence-classifier": _cross_encoder,
    "colbert": _colbert,
    "seq2seq": _mono_t5,
}
