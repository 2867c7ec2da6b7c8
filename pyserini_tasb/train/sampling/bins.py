"""Which bin a pair is in, by its teacher's margin (paper, Eq. 12; the inequality there is the wrong way round)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.train.sampling.ragged import list_starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Binning = Callable[[NDArray[np.float32], NDArray[np.int64], int], NDArray[np.int64]]


def bin_of(margins: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Equal-width bins of one query's pairs: bin i is `min + i·w <= margin < min + (i + 1)·w`, the last one closed.

    Args:
        margins: [pairs] the query's margins, finite.
        bins: how many bins there are; `w = (max - min) / bins`.

    Returns:
        [pairs] from 0 to `bins` - 1; all 0 if the margins are all equal.
    """
    values = np.asarray(margins, np.float64)
    width = (values.max() - values.min()) / bins
    if width == 0:
        return np.zeros(len(values), np.int64)
    edges = values.min() + np.arange(1, bins) * width
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def quantile_bin_of(margins: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Quantile bins of one query's pairs: a pair is in bin `⌊bins · (share of pairs with a smaller margin)⌋`.

    Bins hold equally many pairs, but for rounding and for equal margins, which share a bin. So drawing a bin and then a
    pair is close to drawing a pair uniformly; equal margins together become rarer.

    Args:
        margins: [pairs] the query's margins, finite.
        bins: how many bins there are.

    Returns:
        [pairs] from 0 to `bins` - 1.
    """
    values = np.asarray(margins)
    smaller = np.searchsorted(np.sort(values), values, side="left")
    return (smaller * bins // len(values)).astype(np.int64)


def equal_width_bins(margins: NDArray[np.float32], counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """`bin_of` for many queries at once.

    Args:
        margins: query after query, finite.
        counts: [queries] how many pairs each query has, at least one.
        bins: for each query.

    Returns:
        The bin of each pair within its query.
    """
    values, starts = margins.astype(np.float64), list_starts(counts)
    lowest = np.minimum.reduceat(values, starts)
    widths = (np.maximum.reduceat(values, starts) - lowest) / bins
    widths = np.where(widths == 0, np.abs(lowest) + 1, widths)  # all margins equal: any width that gives bin 0
    lowest, widths = np.repeat(lowest, counts), np.repeat(widths, counts)
    found = np.floor((values - lowest) / widths)
    # The division rounds otherwise than the edges do. Of float32 margins it is wrong by one bin at most.
    found -= values < lowest + found * widths
    found += values >= lowest + (found + 1) * widths
    numbers: NDArray[np.int64] = np.minimum(found, bins - 1).astype(np.int64)
    return numbers


def quantile_bins(margins: NDArray[np.float32], counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """`quantile_bin_of` for many queries; arguments as for `equal_width_bins`."""
    # One sort for all queries together was no faster.
    parts = np.split(margins, list_starts(counts)[1:])
    return np.concatenate([quantile_bin_of(part, bins) for part in parts])


BINNINGS: dict[str, Binning] = {"equal-width": equal_width_bins, "quantile": quantile_bins}
