"""Dual supervision: a pairwise and an in-batch teacher together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def dual_supervision(pairwise: Tensor | None, in_batch: Tensor | None, alpha: float) -> Tensor:
    """Pairwise loss + alpha · in-batch loss (paper, Eq. 8). An absent part counts as 0.

    Args:
        pairwise: scalar.
        in_batch: scalar.
        alpha: the paper has 0.75, to bring both into the same range.

    Raises:
        ValueError: both parts are absent.
    """
    weighted = None if in_batch is None else alpha * in_batch
    parts = [part for part in (pairwise, weighted) if part is not None]
    if not parts:
        raise ValueError("expected a pairwise loss, an in-batch loss or both, found neither")
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
