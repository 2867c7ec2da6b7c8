"""What kind of model a folder holds, as its config.json says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model import bert_cat, colbert
from pyserini_tasb.model.headed_checkpoint import CONFIG, read_config

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["bert-dot", "bert-cat", "colbert", "sequence-classifier", "seq2seq"]
HEADED: dict[str, Kind] = {bert_cat.ARCHITECTURE: "bert-cat", colbert.ARCHITECTURE: "colbert"}
CLASSIFIER = "ForSequenceClassification"
SEQ2SEQ = {"T5ForConditionalGeneration", "MT5ForConditionalGeneration"}
OTHER_HEADS = (
    "ForQuestionAnswering",
    "ForTokenClassification",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
    "ForCausalLM",
    "LMHeadModel",  # older names of causal ones
    "ForConditionalGeneration",
    "HF_ColBERT",  # Stanford's own: markers in its texts, vectors of length one
)


def kind_of(folder: Path) -> Kind:
    """The kind of a model folder; a transformer without a head is a BERT_DOT.

    Raises:
        TasbError: a model that scores nothing.
    """
    architecture = next(iter(read_config(folder).get("architectures") or ()), "")
    if architecture in HEADED:
        return HEADED[architecture]
    if architecture.endswith(CLASSIFIER):
        return "sequence-classifier"
    if architecture in SEQ2SEQ:
        return "seq2seq"
    if architecture.endswith(OTHER_HEADS):
        raise TasbError(
            where=str(folder / CONFIG),
            expected="a bi-encoder (a transformer without a head), BERT_Cat, ColBERT, a sequence classifier, or a T5",
            found=architecture,
            do="choose a model that was trained to rank",
        )
    return "bert-dot"


def require_bi_encoder(folder: Path) -> None:
    """Check that a folder holds a model that makes one vector of a text.

    Raises:
        TasbError: one that scores pairs, or nothing.
    """
    kind = kind_of(folder)
    if kind != "bert-dot":
        raise TasbError(
            where=str(folder / CONFIG),
            expected="a bi-encoder: a transformer without a head, which makes one vector of a text",
            found=f"a model of the kind `{kind}`",
            do="take a bi-encoder here; this model can re-rank (`tasb rerank`) and teach (`tasb score`)",
        )
