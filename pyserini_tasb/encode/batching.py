"""Batches of texts of similar length, so that little of a batch is padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


def batches_by_length(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[NDArray[np.intp]]:
    """Cut texts into batches, longest first, each of at most `tokens_per_batch` tokens with its padding.

    Longest first, so that a batch that does not fit in memory fails at the start.

    Args:
        lengths: tokens of each text.
        tokens_per_batch: the budget, padding included; a single text may exceed it.

    Yields:
        Positions into `lengths`; together they are a permutation of all positions.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.intp), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens_per_batch // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
