"""Which passage pair each query of a batch gets: any (paper, Eq. 11), or balanced by the teacher's margin (Eq. 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.sampling.ragged import list_numbers, list_starts, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.train.sampling.bins import Binning
    from pyserini_tasb.train.sampling.draw import ScoredPairs
    from pyserini_tasb.train.sampling.margin_cutoff import MarginCutoff
    from pyserini_tasb.train.sampling.uniforms import Uniforms


class PairChoice(Protocol):
    """Chooses a pair for each query of a batch."""

    def choose(self, queries: NDArray[np.int64], uniforms: Uniforms) -> NDArray[np.int64]:
        """[b] rows of the pairs, one for each query."""


@dataclass(frozen=True)
class UniformPairs:
    """All pairs of a query are equally likely. No margin is read."""

    pairs: ScoredPairs

    def choose(self, queries: NDArray[np.int64], uniforms: Uniforms) -> NDArray[np.int64]:
        """[b] rows of the pairs, one for each query."""
        starts, counts = _rows_of(self.pairs, queries)
        chosen: NDArray[np.int64] = starts + _index(uniforms.take(len(queries)), counts)
        return chosen


@dataclass(frozen=True)
class UniformPairsWithin:
    """All pairs of a query with a margin inside the cutoff are equally likely."""

    pairs: ScoredPairs
    cutoff: MarginCutoff

    def choose(self, queries: NDArray[np.int64], uniforms: Uniforms) -> NDArray[np.int64]:
        """[b] rows of the pairs, one for each query."""
        rows, _, counts = _candidates(self.pairs, queries, self.cutoff)
        chosen: NDArray[np.int64] = rows[list_starts(counts) + _index(uniforms.take(len(queries)), counts)]
        return chosen


@dataclass(frozen=True)
class BalancedPairs:
    """Of each query's bins that hold a pair all are equally likely, then all pairs in the bin.

    Args:
        pairs: with a teacher's margins; pairs with a margin that is not finite are never drawn.
        cutoff: the bins are those of the pairs it keeps.
        binning: how the pairs are binned.
        bins: h.
    """

    pairs: ScoredPairs
    cutoff: MarginCutoff
    binning: Binning
    bins: int

    def choose(self, queries: NDArray[np.int64], uniforms: Uniforms) -> NDArray[np.int64]:
        """[b] rows of the pairs, one for each query."""
        rows, margins, counts = _candidates(self.pairs, queries, self.cutoff)
        bin_uniforms, pair_uniforms = uniforms.take(2 * len(queries)).reshape(2, -1)
        owners = list_numbers(counts)
        found = self.binning(margins, counts, self.bins)
        sizes = np.bincount(owners * self.bins + found, minlength=len(queries) * self.bins).reshape(-1, self.bins)
        nonempty = (sizes > 0).cumsum(axis=1)
        wanted = _index(bin_uniforms, nonempty[:, -1])
        drawn = (nonempty > wanted[:, None]).argmax(axis=1)
        in_bin = np.flatnonzero(found == np.repeat(drawn, counts))
        in_bin_counts = sizes[np.arange(len(queries)), drawn]
        places = in_bin[list_starts(in_bin_counts) + _index(pair_uniforms, in_bin_counts)]
        chosen: NDArray[np.int64] = rows[places]
        return chosen


def _rows_of(pairs: ScoredPairs, queries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = pairs.offsets[queries]
    return starts, pairs.offsets[queries + 1] - starts


def _candidates(
    pairs: ScoredPairs, queries: NDArray[np.int64], cutoff: MarginCutoff
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Rows and margins of the pairs that may be drawn, query after query, and how many each query has."""
    starts, counts = _rows_of(pairs, queries)
    rows = ranges(starts, counts)
    margins = pairs.margins(rows)
    kept = cutoff.keeps(margins)
    if not kept.all():
        counts = np.bincount(list_numbers(counts)[kept], minlength=len(queries))
        rows, margins = rows[kept], margins[kept]
        _refuse_empty(queries, counts)
    return rows, margins, counts


def _refuse_empty(queries: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    if not counts.all():
        raise TasbError(
            expected="a finite teacher's margin in at least one pair of every query",
            found=f"none in the pairs of query {queries[counts.argmin()]} (numbered from 0)",
            do="build the pair store again from whole scores",
        )


def _index(uniforms: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    # Never `counts` itself: the largest double below 1 times a whole number rounds to less than that number.
    return (uniforms * counts).astype(np.int64)
