"""Which pairs of a query may be drawn, by its teacher's margins, and which bin a pair is in (paper, Eq. 12 and 13).

The inequality of Eq. 12 is the wrong way round in the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Binning: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.int64], int], NDArray[np.int64]]
"""(margins, query after query; [queries] how many each has; bins) → the bin of each pair within its query, from 0."""


@dataclass(frozen=True)
class CheckedBinning:
    """A binning whose numbers are looked at: a wrong one would make wrong batches, and nothing would show it."""

    name: str
    binning: Binning

    def __call__(self, margins: NDArray[np.float32], counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
        """The bin of each pair within its query; arguments as for `Binning`.

        Raises:
            TasbError: a pair without a bin, or in one that does not exist.
        """
        found = np.asarray(self.binning(margins, counts, bins))
        if found.shape != margins.shape or (len(found) and not (found.min() >= 0 and found.max() < bins)):
            raise TasbError(
                expected=f"{len(margins)} numbers of bins, from 0 to {bins - 1}, of the binning `{self.name}`",
                found=f"{len(found)} numbers, from {found.min()} to {found.max()}" if found.size else "none",
                do="fix that binning, or choose another as sampling.binning",
            )
        return found.astype(np.int64, copy=False)


BINNINGS: Registry[Binning] = Registry(
    "binning", "binnings", prepared=CheckedBinning, takes=("margins", "counts", "bins")
)


@BINNINGS.register("equal-width")
def equal_width_bins(margins: NDArray[np.float32], counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Bins of equal width, from a query's lowest margin to its highest.

    The same as `bin_one_query`, for many queries at once.

    Args:
        margins: query after query, finite.
        counts: [queries] how many pairs each query has, at least one.
        bins: the number of bins for each query.

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


def bin_one_query(margins: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Equal-width bins of one query's pairs: bin i is `min + i·w <= margin < min + (i + 1)·w`, the last one closed.

    Args:
        margins: [pairs] the query's margins, finite.
        bins: the number of bins; `w = (max - min) / bins`.

    Returns:
        [pairs] from 0 to `bins` - 1; all 0 if the margins are all equal.
    """
    values = np.asarray(margins, np.float64)
    width = (values.max() - values.min()) / bins
    if width == 0:
        return np.zeros(len(values), np.int64)
    edges = values.min() + np.arange(1, bins) * width
    return np.searchsorted(edges, values, side="right").astype(np.int64)


@BINNINGS.register("quantile")
def quantile_bins(margins: NDArray[np.float32], counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Bins that hold equally many of a query's pairs.

    The same as `quantile_bin_one_query`, for many queries at once.

    Args:
        margins: query after query, finite.
        counts: [queries] how many pairs each query has, at least one.
        bins: the number of bins for each query.

    Returns:
        The bin of each pair within its query.
    """
    # One sort for all queries together was no faster.
    parts = np.split(margins, list_starts(counts)[1:])
    return np.concatenate([quantile_bin_one_query(part, bins) for part in parts])


def quantile_bin_one_query(margins: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Quantile bins of one query's pairs: a pair is in bin `⌊bins · (share of pairs with a smaller margin)⌋`.

    Bins hold equally many pairs, but for rounding and for equal margins, which share a bin. So drawing a bin and then a
    pair is close to drawing a pair uniformly; equal margins together become rarer.

    Args:
        margins: [pairs] the query's margins, finite.
        bins: the number of bins.

    Returns:
        [pairs] from 0 to `bins` - 1.
    """
    values = np.asarray(margins)
    smaller = np.searchsorted(np.sort(values), values, side="left")
    return (smaller * bins // len(values)).astype(np.int64)


ROWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class MarginCutoff:
    """The margins, from `lowest` to `highest`, of the pairs that are drawn.

    Args:
        lowest: no limit if None.
        highest: likewise.

    Raises:
        TasbError: no margin can be between them.
    """

    lowest: float | None = None
    highest: float | None = None

    def __post_init__(self) -> None:
        if not self._low <= self._high:
            raise TasbError(
                expected="a lowest margin that is at most the highest",
                found=f"{self.lowest} and {self.highest}",
                do="change sampling.lowest_margin or sampling.highest_margin",
            )

    def __bool__(self) -> bool:
        """True if there is a limit at all."""
        return self.lowest is not None or self.highest is not None

    def keeps(self, margins: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which pairs may be drawn. Margins that are not finite are outside every limit."""
        finite = np.isfinite(margins)
        return finite & (margins >= self._low) & (margins <= self._high) if self else finite

    def usable(self, pairs: ScoredPairs) -> NDArray[np.bool_]:
        """[queries] whether a query has a pair that may be drawn.

        With a limit this reads every margin once (about a second for 40M pairs), in pieces of bounded memory.
        """
        offsets = pairs.offsets
        usable = np.diff(offsets) > 0
        if not self:
            return usable
        first = 0
        while first < len(usable):
            beyond = int(np.searchsorted(offsets, offsets[first] + ROWS_AT_ONCE, side="right")) - 1
            last = min(max(beyond, first + 1), len(usable))
            filled = first + np.flatnonzero(usable[first:last])
            if len(filled):
                rows = slice(int(offsets[first]), int(offsets[last]))
                usable[filled] = np.logical_or.reduceat(self.keeps(pairs.margins(rows)), offsets[filled] - rows.start)
            first = last
        return usable

    @property
    def _low(self) -> float:
        return -np.inf if self.lowest is None else self.lowest

    @property
    def _high(self) -> float:
        return np.inf if self.highest is None else self.highest


class ScoredPairs(Protocol):
    """Passage pairs of queries; the pairs of query i are rows `offsets[i]:offsets[i + 1]`. A pair store is one."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First rows, [queries + 1]."""

    @property
    def positives(self) -> NDArray[np.uint32]:
        """The positive of each row, [pairs]. Only batches of several negatives a query read it."""

    @property
    def supervision(self) -> str:
        """`scores` or `margins` of a teacher, or only `labels`."""

    def margins(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """The teacher's margins of these rows: score of the positive minus score of the negative."""


# Lists of different lengths in one flat array.


def list_starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each list begins, [lists]."""
    return counts.cumsum() - counts


def list_numbers(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The list that each entry belongs to."""
    return np.repeat(np.arange(len(counts)), counts)


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start, start + 1, …, start + count - 1` for each start and count."""
    return np.repeat(starts - list_starts(counts), counts) + np.arange(counts.sum())
