"""Attention to train with on a CPU: with a dropout that costs little, for packed texts too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.train.on_cpu.dropout import dropout as with_dropout

if TYPE_CHECKING:
    from pyserini_tasb.model.packing import Packing

ATTENTION = "tasb-cpu-training"


def attention(  # noqa: PLR0917 - Hugging Face's interface
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention, all of [texts, heads, tokens, size], as Hugging Face's interface wants it.

    With `packing`, all of [1, heads, all tokens, size].
    """
    query = query * (scaling or query.size(-1) ** -0.5)
    if packing is None:
        return _attended(query, key, value, attention_mask, dropout).transpose(1, 2).contiguous(), None
    parts = zip(packing.apart(query), packing.apart(key), packing.apart(value), packing.seen, strict=True)
    return packing.together([_attended(*part, dropout) for part in parts]), None


def use_cpu_attention(transformer: Any) -> None:
    """Let a Hugging Face encoder attend so, unless it has attention code of its own, or attends in another way.

    Causal models rely on their attention to hide what follows, and some share keys between heads.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    other = any(
        getattr(module, "is_causal", False) or getattr(module, "num_key_value_groups", 1) > 1
        for module in transformer.modules()
    )
    if getattr(transformer, "_supports_attention_backend", False) and not other:
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        transformer.set_attn_implementation(ATTENTION)


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """[texts, heads, tokens, size] of a query already scaled; `seen` is bool, broadcast over heads and queries.

    Written out, because PyTorch's kernels take their own dropout only, and their way back in bf16 is slow on CPUs.
    """
    weights = query @ key.transpose(-1, -2)
    if seen is not None:
        lowest = weights.new_full((), torch.finfo(weights.dtype).min)
        weights = weights + torch.where(seen, weights.new_zeros(()), lowest)
    return with_dropout(torch.softmax(weights, dim=-1), dropout) @ value
