"""Token ids of several texts as one rectangle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def padded(token_ids: Sequence[Sequence[int]], pad_id: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [texts, longest] on `device`, padded on the right: the CLS vector is read at position 0."""
    longest = max(map(len, token_ids))
    ids = torch.full((len(token_ids), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(token_ids):
        ids[row, : len(text)] = torch.as_tensor(text)
        mask[row, : len(text)] = 1
    return ids.to(device), mask.to(device)
