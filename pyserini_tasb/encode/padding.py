"""Token ids of several texts as one rectangle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray


def padded_arrays(token_ids: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask [texts, longest], padded on the right: the CLS vector is read at position 0."""
    longest = max(map(len, token_ids))
    ids = np.full((len(token_ids), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(token_ids):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return ids, mask


def padded(token_ids: Sequence[Sequence[int]], pad_id: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """As `padded_arrays`, as tensors on `device`."""
    import torch

    ids, mask = padded_arrays(token_ids, pad_id)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
