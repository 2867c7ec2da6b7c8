"""Cross-encoders of Hugging Face's own class, with one label (a score) or two (monoBERT's)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.pretrained import depends_on_text, load_pretrained

if TYPE_CHECKING:
    from pathlib import Path


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
            expected="a cross-encoder: a sequence classifier with one label, or two of which the second is relevant",
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
            do="check that config.json came with the weights (`is_decoder`), or take a bidirectional model",
        )
    return classifier
