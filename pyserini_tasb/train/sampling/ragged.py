"""Lists of different lengths in one flat array, list after list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def list_starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each list begins, [lists]."""
    return counts.cumsum() - counts


def list_numbers(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of every entry, the list it belongs to."""
    return np.repeat(np.arange(len(counts)), counts)


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start, start + 1, …, start + count - 1` for each start and count."""
    return np.repeat(starts - list_starts(counts), counts) + np.arange(counts.sum())
