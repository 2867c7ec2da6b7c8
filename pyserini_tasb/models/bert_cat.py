"""BERT_CAT, a cross-encoder: a linear score of the CLS vector (paper, Eq. 1), or a class with one or two labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.bert_dot import compute_first_token_only
from pyserini_tasb.models.checkpoints import BERT_CAT, load_errors_explained
from pyserini_tasb.models.headed_checkpoint import described_transformer, fill, save, starting_transformer
from pyserini_tasb.models.pretrained import (
    depends_on_text,
    load_pretrained,
    require_computing,
    require_first_token_reads_all,
)

if TYPE_CHECKING:
    from pathlib import Path


BIDIRECTIONAL = "use a bidirectional model (BERT, DistilBERT, MiniLM, ELECTRA)"
HEAD = {"head.weight": "_classification_layer.weight", "head.bias": "_classification_layer.bias"}


class BertCat(torch.nn.Module):
    """A cross-encoder.

    Args:
        transformer: any Hugging Face encoder with `last_hidden_state`. One that pools (BERT's `pooler`, a dense layer
            and a tanh over the CLS vector) is scored from what it pools, as the authors' class does.
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer
        compute_first_token_only(transformer)
        self.head = torch.nn.Linear(transformer.config.hidden_size, 1)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores [pairs] in fp32, from token ids, mask and segments [pairs, tokens].

        Args:
            input_ids: the token ids of `[CLS] query [SEP] passage [SEP]`.
            attention_mask: 0 where there is padding.
            token_type_ids: 1 in the passage; None for models without segments (DistilBERT).
        """
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.transformer(input_ids=input_ids, attention_mask=attention_mask, **segments)
        pooled = getattr(output, "pooler_output", None)
        vectors = output.last_hidden_state[:, 0] if pooled is None else pooled
        with torch.autocast(vectors.device.type, enabled=False):
            scores: torch.Tensor = torch.nn.functional.linear(
                vectors.float(), self.head.weight.float(), self.head.bias.float()
            )
        return scores.squeeze(-1)


def new_bert_cat(folder: Path, *, seed: int) -> BertCat:
    """A BERT_CAT that starts from a transformer's weights, with a random head.

    Args:
        folder: the transformer, as `find_checkpoint` gives it.
        seed: the seed of the head.

    Raises:
        TasbError: the folder's weights are not those of the model that its config.json describes, or it is causal.
    """
    model = BertCat(starting_transformer(folder))
    require_first_token_reads_all(model.transformer, folder, do=BIDIRECTIONAL)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.head.weight.normal_(std=0.02, generator=generator)
        model.head.bias.zero_()
    return model


def load_bert_cat(folder: Path, precision: torch.dtype = torch.float32) -> BertCat:
    """Load a BERT_CAT's folder for inference.

    Raises:
        TasbError: the weights are not those of the model that config.json describes, or it is causal.
    """
    with load_errors_explained(folder):
        model = BertCat(described_transformer(folder)).eval()
    fill(model, folder, HEAD)
    require_computing(model.transformer, folder)
    require_first_token_reads_all(model.transformer, folder, do=BIDIRECTIONAL)
    return model.to(precision)


def save_bert_cat(folder: Path, model: BertCat) -> None:
    """Write config.json and model.safetensors into an existing folder."""
    save(folder, model, HEAD, architecture=BERT_CAT)


class SequenceClassifier(torch.nn.Module):
    """A score from a sequence classifier's logits.

    Args:
        transformer: a Hugging Face model for sequence classification with one or two labels.
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores [pairs] in fp32: the logit, or of two labels the second's less the first's.

        Arguments are those of `BertCat`.
        """
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits = self.transformer(input_ids=input_ids, attention_mask=attention_mask, **segments).logits.float()
        scores: torch.Tensor = logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        return scores


def load_sequence_classifier(
    folder: Path, precision: torch.dtype = torch.float32, *, allow_bin: bool = False
) -> SequenceClassifier:
    """Load a folder for inference.

    Raises:
        TasbError: more than two labels, parameters without weights, or the same score for all texts.
    """
    from transformers import AutoModelForSequenceClassification

    model = load_pretrained(AutoModelForSequenceClassification, folder, precision, allow_bin=allow_bin)
    if model.config.num_labels > 2:
        raise TasbError(
            where=str(folder),
            expected="a cross-encoder: a sequence classifier with one label, or with two, of which the second means "
            "relevant",
            found=f"{model.config.num_labels} labels",
            do="choose a model that was trained to rank",
        )
    classifier = SequenceClassifier(model).eval()
    try:
        reads = depends_on_text(classifier, model)
    except ValueError as error:  # a causal one, which scores at the last token that is no padding
        raise TasbError(
            where=str(folder),
            expected="a classifier that scores several pairs at once",
            found=str(error),
            do="write the `pad_token_id` that it was trained with into its config.json",
        ) from error
    if not reads:
        raise TasbError(
            where=str(folder),
            expected="a cross-encoder whose score depends on what it reads",
            found=f"a causal model ({type(model).__name__}) that scores from its first token, which reads nothing else",
            do="check that config.json came with the weights (`is_decoder`), or use a bidirectional model",
        )
    return classifier
