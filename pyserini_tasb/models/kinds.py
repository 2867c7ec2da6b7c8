"""What kind of model a folder holds, as its config.json says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models import bert_cat, colbert
from pyserini_tasb.models.headed_checkpoint import CONFIG, read_config

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.recipes.types import Pooling


Kind = Literal["bert-dot", "bert-cat", "colbert", "sequence-classifier", "seq2seq"]
HEADED: dict[str, Kind] = {bert_cat.ARCHITECTURE: "bert-cat", colbert.ARCHITECTURE: "colbert"}
CLASSIFIER = "ForSequenceClassification"
SEQ2SEQ = {"T5ForConditionalGeneration", "MT5ForConditionalGeneration"}
CAUSAL = ("ForCausalLM", "LMHeadModel")  # the latter is an older name
OTHER_HEADS = (
    "ForQuestionAnswering",
    "ForTokenClassification",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
    "ForConditionalGeneration",
    "HF_ColBERT",  # Stanford's own: markers in its texts, vectors of length one
)
CAUSAL_BI_ENCODER = (
    "; one that makes vectors by its last token needs an encoder card with `pooling: last` (to train: "
    "`student.pooling: last`)"
)


def kind_of(folder: Path, *, pooling: Pooling = "cls") -> Kind:
    """The kind of a model folder; a transformer without a head is a BERT_DOT.

    Args:
        folder: the model.
        pooling: what its card says. A causal language model is a BERT_DOT if it pools anything but the first token.

    Raises:
        TasbError: a model that scores nothing.
    """
    config = read_config(folder)
    architecture = next(iter(config.get("architectures") or ()), "")
    if architecture in HEADED:
        return HEADED[architecture]
    if architecture.endswith(CLASSIFIER):
        return "sequence-classifier"
    if architecture in SEQ2SEQ:
        return "seq2seq"
    if architecture.endswith(CAUSAL) and pooling != "cls":
        return "bert-dot"
    if architecture.endswith((*CAUSAL, *OTHER_HEADS)):
        causal = architecture.endswith(CAUSAL)
        raise TasbError(
            where=str(folder / CONFIG),
            expected="a bi-encoder (a transformer without a head), BERT_Cat, ColBERT, a sequence classifier, or a T5",
            found=architecture
            + (", a causal model, whose first token reads nothing after it" if causal else "")
            + (", an encoder-decoder" if config.get("is_encoder_decoder") else ""),
            do=f"choose a model that was trained to rank{CAUSAL_BI_ENCODER if causal else ''}",
        )
    return "bert-dot"


def require_bi_encoder(folder: Path, *, pooling: Pooling = "cls") -> None:
    """Check that a folder holds a model that makes one vector of a text; it takes the arguments of `kind_of`.

    Raises:
        TasbError: one that scores pairs, or nothing.
    """
    kind = kind_of(folder, pooling=pooling)
    if kind != "bert-dot":
        raise TasbError(
            where=str(folder / CONFIG),
            expected="a bi-encoder: a transformer without a head, which makes one vector of a text",
            found=f"a model of the kind `{kind}`{', an encoder-decoder' if kind == 'seq2seq' else ''}",
            do="take a bi-encoder here; this model can re-rank (`tasb rerank`) and teach (`tasb score`)",
        )
