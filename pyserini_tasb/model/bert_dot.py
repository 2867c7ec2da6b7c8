"""BERT_DOT: one vector per text, scored by dot product (paper, Section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from pyserini_tasb.model.pretrained import load_pretrained

if TYPE_CHECKING:
    from pathlib import Path

Pooling = Literal["cls", "mean"]
# Heads that a checkpoint may lack, because no pooling of ours uses them.
UNUSED = ("pooler.",)


class BertDot(torch.nn.Module):
    """A shared encoder for queries and passages.

    Args:
        transformer: any Hugging Face encoder with `last_hidden_state`; with CLS pooling, its last layer computes the
            first token alone from now on, if it is a BERT or a DistilBERT.
        pooling: `cls`, the first token's vector (TAS-B), or `mean` over the text's tokens.
        normalise: divide each vector by its length, which makes the dot product a cosine.
    """

    def __init__(self, transformer: Any, pooling: Pooling = "cls", normalise: bool = False) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling
        self.normalise = normalise
        self.first_token_only = False
        if pooling == "cls":
            from pyserini_tasb.model.first_token import compute_first_token_only

            self.first_token_only = compute_first_token_only(transformer)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self.transformer.config.hidden_size)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors [texts, dimension] in fp32, from token ids and mask [texts, tokens].

        In fp32 whatever the model's precision: dot products near 100 would be rounded to 1/16 in fp16.
        """
        tokens = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "cls":
            vectors = tokens[:, 0].float()
        else:
            mask = attention_mask.unsqueeze(-1).float()
            vectors = (tokens.float() * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(vectors, dim=-1) if self.normalise else vectors


def load_bert_dot(
    folder: Path,
    *,
    pooling: Pooling = "cls",
    normalise: bool = False,
    precision: torch.dtype = torch.float32,
    allow_bin: bool = False,
) -> BertDot:
    """Load a model folder for inference.

    Raises:
        TasbError: the folder's weights do not fill the model that its config.json describes.
    """
    from transformers import AutoModel

    loaded = load_pretrained(AutoModel, folder, precision, allow_bin=allow_bin, unused=UNUSED)
    return BertDot(loaded, pooling, normalise).eval()
