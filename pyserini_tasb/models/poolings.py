"""Poolings: how the vectors of a text's tokens become the text's vector.

A pooling is a function of the tokens' vectors [texts, tokens, d] and of the mask [texts, tokens], 1 for a token and 0
for padding; it gives [texts, d] in fp32. In fp32 whatever the model's precision: dot products near 100 would be rounded
to 1/16 in fp16. It must compute with tensors' own operations: it is exported to ONNX with the model.

Apart from `bert_dot`, because the pooling of an encoder card is checked without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Pool: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"

POOLINGS: Registry[Pool] = Registry("pooling", "poolings", takes=("the tokens' vectors", "the mask"))


@POOLINGS.register("cls")
def cls(tokens: Tensor, _mask: Tensor) -> Tensor:
    """The first token's vector, [CLS] (TAS-B)."""
    return tokens[:, 0].float()


@POOLINGS.register("mean")
def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean of the vectors of a text's tokens (most models of sentence-transformers)."""
    weights = mask.unsqueeze(-1).float()
    return (tokens.float() * weights).sum(dim=1) / weights.sum(dim=1)


@POOLINGS.register("last")
def last(tokens: Tensor, mask: Tensor) -> Tensor:
    """The vector of the last token before the padding (causal models)."""
    # Right for padding on either side: the tokens' numbers grow, and padding has 0.
    place = (mask.cumsum(dim=1) * mask).argmax(dim=1)
    return tokens.gather(1, place[:, None, None].expand(-1, -1, tokens.shape[2]))[:, 0].float()
