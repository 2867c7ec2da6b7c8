"""The sampling strategies of the paper (Section 3, Figure 2): a batch's queries, and the pair that each gets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Binning = Callable[[NDArray[np.float32], NDArray[np.int64], int], NDArray[np.int64]]


@dataclass(frozen=True)
class SampledBatch:
    """A batch, as numbers.

    Args:
        queries: [b] distinct queries.
        rows: [b] one row of the pairs for each query.
    """

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]


class Sampler(Protocol):
    """Composes batches."""

    def batch(self, step: int) -> SampledBatch:
        """The batch of a step, a function of seed and step alone: no batch depends on those drawn before it."""


class ScoredPairs(Protocol):
    """Passage pairs of queries; the pairs of query i are rows `offsets[i]:offsets[i + 1]`. A pair store is one."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First rows, [queries + 1]."""

    @property
    def supervision(self) -> str:
        """`scores` or `margins` of a teacher, or `labels` alone."""

    def margins(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """The teacher's margins of these rows: score of the positive minus score of the negative."""


@dataclass(frozen=True)
class Strategy:
    """Whether a batch's queries come from clusters, and whether their pairs are balanced by margin."""

    clustered: bool
    balanced: bool


STRATEGIES = {
    "random": Strategy(clustered=False, balanced=False),
    "tas": Strategy(clustered=True, balanced=False),
    "tas-balanced": Strategy(clustered=True, balanced=True),
}


def build_sampler(
    strategy: str,
    pairs: ScoredPairs,
    *,
    batch_size: int,
    seed: int,
    clusters: Sequence[NDArray[np.int64]] | None = None,
    clusters_per_batch: int = 1,
    bins: int = 10,
    binning: str = "equal-width",
    margin_cutoff: tuple[float | None, float | None] = (None, None),
) -> Sampler:
    """A sampler whose batches are a function of seed and step alone.

    Every batch has exactly `batch_size` queries, none of them twice. Queries without pairs are never drawn, nor are
    those without a pair inside the margin cutoff.

    Args:
        strategy: a name of `STRATEGIES`.
        pairs: what to draw from.
        batch_size: b, queries in a batch.
        seed: from 0, below 2^64.
        clusters: the queries of each cluster, numbered as in `pairs`; `random` does not use them.
        clusters_per_batch: n; each cluster supplies ⌊b / n⌋ queries.
        bins: h, for `tas-balanced`.
        binning: a name of `BINNINGS`, for `tas-balanced`.
        margin_cutoff: lowest and highest teacher's margin of a pair that is drawn; None is no limit.

    Raises:
        TasbError: an unknown name or a number out of range; no clusters, or wrong ones; margins are needed but `pairs`
            has labels only; fewer usable queries than `batch_size`.
    """
    wanted = _named("strategy", STRATEGIES, strategy)
    bin_pairs = _named("binning", BINNINGS, binning)
    _at_least_one(batch_size=batch_size, clusters_per_batch=clusters_per_batch, bins=bins)
    if not 0 <= seed < 2**64:
        raise TasbError(expected="a seed from 0, below 2^64", found=str(seed), do="choose another seed")
    cutoff = MarginCutoff(*margin_cutoff)
    if (wanted.balanced or cutoff) and pairs.supervision == "labels":
        raise _without_margins(strategy, balanced=wanted.balanced)
    usable = cutoff.usable(pairs)
    queries: UniformQueries | ClusteredQueries = UniformQueries(usable)
    if wanted.clustered:
        queries = _clustered(strategy, clusters, usable, clusters_per_batch, batch_size)
    if len(queries) < batch_size:
        raise _too_few(len(queries), batch_size, clustered=wanted.clustered, cutoff=cutoff)
    choice: PairChoice = UniformPairsWithin(pairs, cutoff) if cutoff else UniformPairs(pairs)
    if wanted.balanced:
        choice = BalancedPairs(pairs, cutoff, bin_pairs, bins)
    return _Sampler(seed, batch_size, queries, choice)


@dataclass(frozen=True)
class _Sampler:
    seed: int
    batch_size: int
    queries: QueryChoice
    pairs: PairChoice

    def batch(self, step: int) -> SampledBatch:
        queries = self.queries.choose(self.batch_size, Uniforms(self.seed, step, Purpose.QUERIES))
        return SampledBatch(queries, self.pairs.choose(queries, Uniforms(self.seed, step, Purpose.PAIRS)))


T = TypeVar("T")


def _named(what: str, known: Mapping[str, T], name: str) -> T:
    if name not in known:
        raise TasbError(
            expected=f"sampling.{what}: {', '.join(known)}", found=name, do=f"choose one of these as sampling.{what}"
        )
    return known[name]


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise TasbError(expected=f"{name} of at least 1", found=str(number), do=f"change {name}")


def _without_margins(strategy: str, *, balanced: bool) -> TasbError:
    what = f"strategy {strategy}" if balanced else "a margin cutoff"
    instead = "use strategy tas or random" if balanced else "set no margin cutoff"
    return TasbError(
        expected=f"a teacher's scores or margins in the pair store, for {what}",
        found="pairs with labels only",
        do=f"{instead}, or score the pairs with a teacher first (`tasb score`)",
    )


def _clustered(
    strategy: str,
    clusters: Sequence[NDArray[np.int64]] | None,
    usable: NDArray[np.bool_],
    clusters_per_batch: int,
    batch_size: int,
) -> ClusteredQueries:
    if clusters is None:
        raise TasbError(
            expected=f"clusters of queries, for strategy {strategy}",
            found="none",
            do="make them with `tasb cluster` and set data.clusters, or use strategy random",
        )
    if clusters_per_batch > batch_size:
        raise TasbError(
            expected=f"sampling.clusters_per_batch of at most the batch size, {batch_size}",
            found=str(clusters_per_batch),
            do="lower sampling.clusters_per_batch, or raise batch_size",
        )
    return ClusteredQueries(clusters, usable, clusters_per_batch)


def _too_few(found: int, batch_size: int, *, clustered: bool, cutoff: MarginCutoff) -> TasbError:
    conditions = ["with pairs"] + ["in a cluster"] * clustered + ["with a margin inside the cutoff"] * bool(cutoff)
    return TasbError(
        expected=f"at least batch_size = {batch_size:,} queries " + " and ".join(conditions),
        found=f"{found:,}",
        do="lower batch_size, or train on more queries" + (", or widen the margin cutoff" if cutoff else ""),
    )


# Which queries make a batch: any (paper, Eq. 9), or those of few clusters (Eq. 11).


class QueryChoice(Protocol):
    """Chooses a batch's queries."""

    def choose(self, count: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """`count` distinct queries."""


class UniformQueries:
    """All queries are equally likely.

    Args:
        usable: [queries] whether a query may be drawn.
    """

    def __init__(self, usable: NDArray[np.bool_]) -> None:
        self._queries: NDArray[np.int64] = np.flatnonzero(usable)

    def __len__(self) -> int:
        return len(self._queries)

    def choose(self, count: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """`count` distinct queries."""
        places = Shuffle(len(self._queries), uniforms).take(count)
        return self._queries[np.array(places, np.int64)]


class ClusteredQueries:
    """Topic-aware sampling: queries of `clusters_per_batch` clusters, all clusters equally likely whatever their size.

    Every cluster drawn supplies the batch's share, ⌊b / n⌋ queries, or all it has left if that is less; further
    clusters follow until the batch is full. Once all were drawn a cluster can be drawn again, and then supplies other
    queries: no query is ever twice in a batch.

    Args:
        clusters: the queries of each cluster; queries in no cluster are never drawn.
        usable: [queries] whether a query may be drawn; clusters without such queries are never drawn.
        clusters_per_batch: n.

    Raises:
        TasbError: a query that does not exist, or is in two clusters.
    """

    def __init__(
        self, clusters: Sequence[NDArray[np.int64]], usable: NDArray[np.bool_], clusters_per_batch: int
    ) -> None:
        counts = np.array([len(cluster) for cluster in clusters], np.int64)
        members = np.concatenate([np.empty(0, np.int64), *clusters])
        labels = list_numbers(counts)
        _refuse_unknown(members, labels, len(usable))
        _refuse_repeated(members, labels)
        kept = usable[members]
        sizes = np.bincount(labels[kept], minlength=len(counts))
        self._sizes, self._starts = sizes.tolist(), list_starts(sizes).tolist()
        self._members = members[kept]
        self._per_batch = clusters_per_batch

    def __len__(self) -> int:
        return len(self._members)

    def choose(self, count: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """`count` distinct queries."""
        share = count // self._per_batch
        places: list[int] = []
        queries: dict[int, Shuffle] = {}  # of each cluster drawn so far
        clusters = Shuffle(len(self._sizes), uniforms)
        while len(places) < count:
            if not clusters.remaining:
                clusters = Shuffle(len(self._sizes), uniforms)
            (cluster,) = clusters.take(1)
            if cluster not in queries:
                queries[cluster] = Shuffle(self._sizes[cluster], uniforms)
            wanted = min(share, queries[cluster].remaining, count - len(places))
            start = self._starts[cluster]
            places += [start + place for place in queries[cluster].take(wanted)]
        chosen: NDArray[np.int64] = self._members[np.array(places, np.int64)]
        return chosen


def _refuse_unknown(members: NDArray[np.int64], labels: NDArray[np.int64], queries: int) -> None:
    unknown = np.flatnonzero((members < 0) | (members >= queries))
    if len(unknown):
        first = unknown[0]
        raise TasbError(
            expected=f"clusters of the pair store's {queries:,} queries, numbered from 0",
            found=f"query {members[first]} in cluster {labels[first]}, and {len(unknown) - 1} more such queries",
            do="use the clusters made from this pair store (`tasb cluster`)",
        )


def _refuse_repeated(members: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
    order = np.argsort(members, kind="stable")
    repeated = np.flatnonzero(np.diff(members[order]) == 0)
    if len(repeated):
        first, second = order[repeated[0]], order[repeated[0] + 1]
        raise TasbError(
            expected="every query in one cluster, once",
            found=f"query {members[first]} in cluster {labels[first]} and again in cluster {labels[second]}, "
            f"and {len(repeated) - 1} more such cases",
            do="make the clusters again (`tasb cluster`)",
        )


# Which passage pair each query of a batch gets: any (paper, Eq. 11), or balanced by the teacher's margin (Eq. 13).


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
        starts, counts = _pair_rows(self.pairs, queries)
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


def _pair_rows(pairs: ScoredPairs, queries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = pairs.offsets[queries]
    return starts, pairs.offsets[queries + 1] - starts


def _candidates(
    pairs: ScoredPairs, queries: NDArray[np.int64], cutoff: MarginCutoff
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Rows and margins of the pairs that may be drawn, query after query, and how many each query has."""
    starts, counts = _pair_rows(pairs, queries)
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


# Which bin a pair is in, by its teacher's margin (paper, Eq. 12; the inequality there is the wrong way round).


def equal_width_bins(margins: NDArray[np.float32], counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """`bin_one_query` for many queries at once.

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


def bin_one_query(margins: ArrayLike, bins: int) -> NDArray[np.int64]:
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


def quantile_bins(margins: NDArray[np.float32], counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """`quantile_bin_one_query` for many queries; arguments as for `equal_width_bins`."""
    # One sort for all queries together was no faster.
    parts = np.split(margins, list_starts(counts)[1:])
    return np.concatenate([quantile_bin_one_query(part, bins) for part in parts])


def quantile_bin_one_query(margins: ArrayLike, bins: int) -> NDArray[np.int64]:
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


BINNINGS: dict[str, Binning] = {"equal-width": equal_width_bins, "quantile": quantile_bins}
ROWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class MarginCutoff:
    """Only pairs with a margin from `lowest` to `highest` are drawn.

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
        """Whether there is a limit at all."""
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


# Random numbers that depend on seed, step and purpose alone; and lists of different lengths in one flat array.


class Purpose(IntEnum):
    """Each purpose has numbers of its own: how pairs are chosen changes nothing about which queries are."""

    QUERIES = 1
    PAIRS = 2


class Uniforms:
    """Uniform random numbers in [0, 1), the same for the same seed, step and purpose.

    They come from Philox (Salmon et al., SC 2011), a function of key and counter. Only its raw 64-bit output is used:
    NumPy guarantees that output to stay as it is, but not the methods of `Generator`.

    Args:
        seed: from 0, below 2^64.
        step: likewise.
        purpose: what they are for.
    """

    def __init__(self, seed: int, step: int, purpose: Purpose) -> None:
        # Philox counts up in the lowest word; steps differ in the next one, so no two of them ever meet.
        key, counter = np.array([seed, purpose], np.uint64), np.array([0, step, 0, 0], np.uint64)
        self._bits = np.random.Philox(key=key, counter=counter)

    def take(self, count: int) -> NDArray[np.float64]:
        """The next `count` numbers."""
        # A double holds 53 bits: with more, the highest values would round to 1.
        raw: NDArray[np.uint64] = self._bits.random_raw(count)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Shuffle:
    """`range(size)` in random order, dealt out piece by piece; all orders are equally likely.

    A Fisher-Yates shuffle that notes only what it moved: the cost is of what is taken, not of `size`.

    Args:
        size: how many there are.
        uniforms: where the randomness comes from.
    """

    def __init__(self, size: int, uniforms: Uniforms) -> None:
        self._size, self._uniforms = size, uniforms
        self._dealt = 0
        self._moved: dict[int, int] = {}

    @property
    def remaining(self) -> int:
        """How many are left."""
        return self._size - self._dealt

    def take(self, count: int) -> list[int]:
        """The next `count` of them; at most what remains."""
        moved, size = self._moved, self._size
        dealt = []
        for place, uniform in enumerate(self._uniforms.take(count).tolist(), self._dealt):
            drawn = place + int(uniform * (size - place))
            dealt.append(moved.get(drawn, drawn))
            moved[drawn] = moved.pop(place, place)
        self._dealt += count
        return dealt


def list_starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each list begins, [lists]."""
    return counts.cumsum() - counts


def list_numbers(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of every entry, the list it belongs to."""
    return np.repeat(np.arange(len(counts)), counts)


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start, start + 1, …, start + count - 1` for each start and count."""
    return np.repeat(starts - list_starts(counts), counts) + np.arange(counts.sum())
