"""Dropout whose random numbers cost little on a CPU.

PyTorch draws one Bernoulli number at a time there: 14 to 17 ns an element were measured, a third of a training step of
MiniLM. Here 64 random bits decide on four elements, in about 3 ns each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

ATTENTION = "tasb-cpu-training"


class _Bits:
    """One stream for all dropouts of a process, as PyTorch has one."""

    def __init__(self) -> None:
        self.generator = np.random.SFC64(0)


_bits = _Bits()


def seed_cpu_dropout(seed: int) -> None:
    """Begin the stream of random bits that belongs to `seed`."""
    _bits.generator = np.random.SFC64(seed)


def dropout(values: torch.Tensor, p: float) -> torch.Tensor:
    """`values`, each 0 with probability `p` (rounded to 1/65,536) and else divided by 1 - `p`."""
    if not p:
        return values
    count = values.numel()
    words = _bits.generator.random_raw((count + 3) // 4).view(np.int16)[:count]
    dropped = torch.from_numpy(words).view(values.shape) < round(p * 65_536) - 32_768
    return values * torch.where(dropped, values.new_zeros(()), values.new_full((), 1 / (1 - p)))


class CpuDropout(torch.nn.Module):
    """In place of `torch.nn.Dropout`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`values` with some of them 0, in training; as they are otherwise."""
        return dropout(values, self.p) if self.training else values


def attention(  # noqa: PLR0917 - Hugging Face's interface
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention, all of [texts, heads, tokens, size], as Hugging Face's interface wants it.

    Written out, because PyTorch's kernels take their own dropout only, and their way back in bf16 is slow on CPUs.
    """
    weights = (query * (scaling or query.size(-1) ** -0.5)) @ key.transpose(-1, -2)
    if attention_mask is not None:  # bool, True for what is seen; broadcast over heads and queries
        lowest = weights.new_full((), torch.finfo(weights.dtype).min)
        weights = weights + torch.where(attention_mask, weights.new_zeros(()), lowest)
    weights = _dropout(torch.softmax(weights, dim=-1), dropout)
    return (weights @ value).transpose(1, 2).contiguous(), None


_dropout = dropout  # the interface has an argument of that name


def use_cpu_dropout(transformer: Any) -> None:
    """Replace every dropout of a Hugging Face encoder, those on attention's weights too.

    A model with attention code of its own keeps that; where it calls PyTorch's function for dropout, that too.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if getattr(transformer, "_supports_attention_backend", False):
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        transformer.set_attn_implementation(ATTENTION)
    for module in list(transformer.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Dropout):
                setattr(module, name, CpuDropout(child.p).train(child.training))
