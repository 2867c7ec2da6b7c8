"""What is asked of `tasb encode`, as every process of it is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.encode.corpus.vector_manifest import ENCODERS, VectorManifest
from pyserini_tasb.recipes import encoder_card

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.encode.corpus.corpus_plan import CorpusPlan
    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.encode.text_encoder import TextEncoder
    from pyserini_tasb.recipes import EncoderCard


@dataclass(frozen=True)
class EncodeJob:
    """A corpus, an encoder and a folder.

    Args:
        encoder: what `--encoder` takes.
        card_digest: of its card and model.
        corpus: paths of the collections.
        output: the vector folder.
        max_length: tokens kept of a passage; by default the card's.
        precision: to compute in; by default the card's.
        dtype: to store in, `float32` or `float16`.
        device: `cpu`, `cuda:0`, …; by default a GPU if the back end has one.
    """

    encoder: str
    card_digest: str
    corpus: tuple[str, ...]
    output: Path
    max_length: int | None
    precision: Precision | None
    dtype: str
    device: str | None

    @property
    def card(self) -> EncoderCard:
        """The encoder's card."""
        return encoder_card(self.encoder)

    @property
    def passage_max_length(self) -> int:
        """Tokens kept of a passage, special tokens included."""
        return min(self.max_length or self.card.passage_max_length, self.card.passage_max_length)

    @property
    def options(self) -> dict[str, object]:
        """What decides the vectors, apart from the corpus."""
        return {
            "card": self.card_digest,
            "max_length": self.passage_max_length,
            "precision": self.precision or self.card.precision,
        }

    def about(self, plan: CorpusPlan, encoder: TextEncoder) -> dict[str, object]:
        """All that decides the vectors; where `auto` chooses, machines differ in what computes."""
        return {**self.options, "corpus": plan.fingerprint, "computed by": encoder.computes(self.precision)}

    def manifest(self, plan: CorpusPlan, encoder: TextEncoder) -> VectorManifest:
        """The manifest of the folder.

        The encoder's identity is not compared when a command goes on: earlier versions wrote none, and the card's
        digest says more.
        """
        identity = encoder.identity(self.encoder)
        about = {
            "encoder": self.encoder,
            ENCODERS: [asdict(identity)] if identity else [],
            **self.about(plan, encoder),
        }
        return VectorManifest(encoder.dimension, self.dtype, plan.records, plan.unit_size, about)
