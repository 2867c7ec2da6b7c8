"""BERT_DOT: one vector per text, scored by dot product (paper, Section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.models.pretrained import load_pretrained, require_first_token_reads_all

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.recipes.types import Pooling


# Heads that a checkpoint may lack, because no pooling of ours uses them.
UNUSED = ("pooler.",)
LAST_INSTEAD = (
    "say `pooling: last` (in the encoder's card, or `student.pooling: last`), if the model was made or is trained for "
    "it: the last token has read the whole text; or take a bidirectional model"
)


class BertDot(torch.nn.Module):
    """A shared encoder for queries and passages.

    Args:
        transformer: any Hugging Face encoder with `last_hidden_state`; with CLS pooling, its last layer computes the
            first token alone from now on, if it is a BERT or a DistilBERT.
        pooling: `cls`, the first token's vector (TAS-B); `mean` over the text's tokens; or `last`, the vector of the
            last token that is no padding (causal models).
        normalise: divide each vector by its length, which makes the dot product a cosine.
    """

    def __init__(self, transformer: Any, pooling: Pooling = "cls", normalise: bool = False) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling
        self.normalise = normalise
        self.first_token_only = False
        if pooling == "cls":
            from pyserini_tasb.models.first_token import compute_first_token_only

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
        elif self.pooling == "mean":
            mask = attention_mask.unsqueeze(-1).float()
            vectors = (tokens.float() * mask).sum(dim=1) / mask.sum(dim=1)
        else:
            # Right for padding on either side: the tokens' numbers grow, and padding has 0.
            last = (attention_mask.cumsum(dim=1) * attention_mask).argmax(dim=1)
            vectors = tokens.gather(1, last[:, None, None].expand(-1, -1, tokens.shape[2]))[:, 0].float()
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
        TasbError: the folder's weights are not those of the model that its config.json describes, or its first token
            is pooled and does not read the text (a causal model).
    """
    from transformers import AutoModel

    loaded = load_pretrained(AutoModel, folder, precision, allow_bin=allow_bin, unused=UNUSED)
    if pooling == "last":
        loaded.config.use_cache = False  # which keeps keys and values for writing further tokens
    if pooling == "cls":
        require_first_token_reads_all(loaded, folder, do=LAST_INSTEAD)
    return BertDot(loaded, pooling, normalise).eval()
