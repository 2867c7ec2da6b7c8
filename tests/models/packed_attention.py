"""Attention of packed texts, one after the other: what a GPU's kernel must compute."""

from __future__ import annotations

from itertools import pairwise

import torch


def each_by_itself(query, key, value, texts, of_keys, dropout, scale):
    """`on_gpu.Attend` by PyTorch's own attention, on any device and in any number format."""
    parts = []
    for (start, end), (first, last) in zip(pairwise(texts.ends.tolist()), pairwise(of_keys.ends.tolist()), strict=True):
        rows = (query[start:end], key[first:last], value[first:last])
        heads = (part.transpose(0, 1)[None] for part in rows)
        attended = torch.nn.functional.scaled_dot_product_attention(*heads, dropout_p=dropout, scale=scale)
        parts.append(attended[0].transpose(0, 1))
    return torch.cat(parts)
