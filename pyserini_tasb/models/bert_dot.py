"""BERT_DOT: one vector per text, scored by dot product (paper, Section 3.1).

With CLS pooling the last layer computes only the first token, the only one that is read: its keys and values are of all
tokens; queries, attention's output and the feed-forward network are of one. Results are the same. In a 6-layer model
that is a seventh of all multiplications, in training as in inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.models.bert.modeling_bert import BertLayer, BertModel
from transformers.models.distilbert.modeling_distilbert import DistilBertModel, TransformerBlock

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.packing import moved
from pyserini_tasb.models.poolings import POOLINGS
from pyserini_tasb.models.pretrained import load_pretrained, require_first_token_reads_all

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.models.packing import Packing
    from pyserini_tasb.recipes.types import Pooling


# Of transformers. Before, layers returned tuples and masks had other shapes.
FIRST_VERSION = 5
# Heads that a checkpoint may lack, because no pooling of ours uses them.
UNUSED = ("pooler.",)
LAST_INSTEAD = (
    "set `pooling: last` (in the encoder's card, or `student.pooling: last`) if the model was made or is trained for "
    "it, because the last token has read the whole text; or use a bidirectional model"
)


class BertDot(torch.nn.Module):
    """A shared encoder for queries and passages.

    Args:
        transformer: any Hugging Face encoder with `last_hidden_state`; with CLS pooling, its last layer computes only
            the first token from now on, if it is a BERT or a DistilBERT.
        pooling: a name of `POOLINGS`.
        normalise: divide each vector by its length, which makes the dot product a cosine.
    """

    def __init__(self, transformer: Any, pooling: Pooling = "cls", normalise: bool = False) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling, self._pool = pooling, POOLINGS[pooling]
        self.normalise = normalise
        self.first_token_only = pooling == "cls" and compute_first_token_only(transformer)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self.transformer.config.hidden_size)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors [texts, dimension] in fp32, from token ids and mask [texts, tokens].

        Where the transformer packs on a GPU, both may lie on the CPU: see `on_gpu.device_of_inputs`.
        """
        tokens = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        # With the first tokens' vectors alone, pooling reads no mask: it need not be copied to a GPU.
        if not self.first_token_only and attention_mask.device != tokens.device:
            attention_mask = moved(attention_mask, tokens.device)
        vectors = self._pool(tokens, attention_mask)
        wanted = (len(input_ids), self.dimension)
        if not isinstance(vectors, torch.Tensor) or vectors.shape != wanted:  # another shape would be broadcast
            raise TasbError(
                expected=f"a tensor of shape {wanted}, from the pooling `{self.pooling}`",
                found=f"{tuple(vectors.shape)}" if hasattr(vectors, "shape") else type(vectors).__name__,
                do="fix the pooling (docs/extend.md)",
            )
        vectors = vectors.float()
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


def compute_first_token_only(transformer: Any) -> bool:
    """Make the last layer of a BERT or a DistilBERT one of those below; leave any other model as it is.

    The weights and their names stay.

    Returns:
        Whether it is one of them.
    """
    if not layers_are_known(transformer) or not transformer.config.num_hidden_layers:
        return False
    if isinstance(transformer, BertModel):
        transformer.encoder.layer[-1].__class__ = FirstTokenBertLayer
    else:
        transformer.transformer.layer[-1].__class__ = FirstTokenDistilBertLayer
    return True


def layers_are_known(transformer: Any) -> bool:
    """True if this is a BERT or a DistilBERT, in a version of transformers whose layers this knows."""
    return int(transformers.__version__.partition(".")[0]) >= FIRST_VERSION and (
        (isinstance(transformer, BertModel) and not transformer.config.is_decoder)
        or isinstance(transformer, DistilBertModel)
    )


class FirstTokenBertLayer(BertLayer):  # type: ignore[no-untyped-call]
    """A `BertLayer` that takes [texts, tokens, size], or packed [1, all tokens, size], and returns [texts, 1, size]."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *_: Any,
        packing: Packing | None = None,
        **__: Any,
    ) -> torch.Tensor:
        """The layer's output for the first token."""
        own, first = self.attention.self, _first(hidden_states, packing)
        context = _attention(
            own.query(first), own.key(hidden_states), own.value(hidden_states), attention_mask, own.dropout,
            size=own.attention_head_size, packing=packing,
        )  # fmt: skip
        attended = self.attention.output(context, first)
        output: torch.Tensor = self.output(self.intermediate(attended), attended)
        return output


class FirstTokenDistilBertLayer(TransformerBlock):  # type: ignore[no-untyped-call]
    """DistilBERT's `TransformerBlock`, which takes and returns what `FirstTokenBertLayer` does."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        packing: Packing | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """The layer's output for the first token."""
        own, first = self.attention, _first(hidden_states, packing)
        context = _attention(
            own.q_lin(first), own.k_lin(hidden_states), own.v_lin(hidden_states), attention_mask, own.dropout,
            size=own.attention_head_size, packing=packing,
        )  # fmt: skip
        attended = self.sa_layer_norm(own.out_lin(context) + first)
        output: torch.Tensor = self.output_layer_norm(self.ffn(attended) + attended)
        return output


def _first(hidden_states: torch.Tensor, packing: Packing | None) -> torch.Tensor:
    """[texts, 1, size]."""
    return hidden_states[:, :1] if packing is None else hidden_states[0, packing.first, None]


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: Any,
    *,
    size: int,
    packing: Packing | None,
) -> torch.Tensor:
    """Scaled dot-product attention of one query: [texts, 1, heads x size].

    Args:
        query: [texts, 1, heads x size].
        key: [texts, tokens, heads x size], or packed [1, all tokens, heads x size].
        value: the values, of the same shape as `key`.
        mask: the mask that attention implementations of transformers get: None where nothing is padding, bool (True:
            seen) or to be added, [texts, 1, any, tokens].
        dropout: the module that drops some of the attention weights, with its probability `p`.
        size: the size of an attention head.
        packing: how keys and values are packed.
    """
    if packing is not None:
        p = dropout.p if dropout.training else 0.0
        attended = packing.attended_by_first(query, key, value, size=size, dropout=p)
        if attended is not None:
            return attended
        key, value, mask = packing.padded(key), packing.padded(value), packing.mask[:, None, None]
    query, key, value = (part.view(*part.shape[:2], -1, size).transpose(1, 2) for part in (query, key, value))
    seen = None if mask is None else mask[:, :, :1]
    if not (dropout.training or torch.is_grad_enabled()):
        context = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return context.transpose(1, 2).flatten(2)
    # Written out where it is trained, for dropout and the way back: see `on_cpu.attention`.
    weights = (query * size**-0.5) @ key.transpose(-1, -2)
    if seen is not None:
        lowest = torch.finfo(weights.dtype).min
        weights = weights.masked_fill(~seen, lowest) if seen.dtype is torch.bool else weights + seen.to(weights.dtype)
    kept: torch.Tensor = dropout(weights.softmax(dim=-1))
    return (kept @ value).transpose(1, 2).flatten(2)
