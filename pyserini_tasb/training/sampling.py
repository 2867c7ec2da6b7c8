"""The sampling strategies of the paper (Section 3, Figure 2): a batch's queries, and the pair that each gets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import Registry, require_callable
from pyserini_tasb.training.binning import BINNINGS, MarginCutoff, list_numbers, list_starts, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.training.binning import Binning, ScoredPairs


@dataclass(frozen=True)
class SampledBatch:
    """A batch, as numbers.

    Args:
        queries: [b] distinct queries.
        rows: [b] one row of the pairs for each query; with n > 1 negatives of each, [b, n], n rows of one positive.
    """

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]


class Sampler(Protocol):
    """Composes batches."""

    def batch(self, step: int) -> SampledBatch:
        """The batch of a step. It depends only on seed and step, not on earlier batches."""


@dataclass(frozen=True)
class Sampling:
    """The pairs that batches are composed of, and the ways to choose queries and pairs. A strategy gets one.

    Attributes:
        strategy: the strategy's name, for messages.
        pairs: the pairs to draw from.
        batch_size: b, the number of queries in a batch.
        seed: a whole number from 0, below 2^64.
        clusters: the queries of each cluster, numbered as in `pairs`; None without clusters.
        clusters_per_batch: n; each cluster supplies ⌊b / n⌋ queries.
        bins: h, the number of bins of margins.
        binning: a name of `BINNINGS`.
        cutoff: the margins that a pair may have.
        negatives: n, the number of negatives of each query.
    """

    strategy: str
    pairs: ScoredPairs
    batch_size: int
    seed: int
    clusters: Sequence[NDArray[np.int64]] | None
    clusters_per_batch: int
    bins: int
    binning: str
    cutoff: MarginCutoff
    negatives: int = 1

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """[queries] whether a query has a pair that may be drawn."""
        return self.cutoff.usable(self.pairs)

    def uniform_queries(self) -> QueryChoice:
        """Any queries (paper, Eq. 9)."""
        return UniformQueries(self.usable)

    def clustered_queries(self) -> QueryChoice:
        """Queries of few clusters (paper, Eq. 11).

        Raises:
            TasbError: there are no clusters, they are not of these pairs, or n is larger than b.
        """
        if self.clusters is None:
            raise TasbError(
                expected=f"clusters of queries, for strategy {self.strategy}",
                found="none",
                do="make them with `tasb cluster` and set data.clusters, or use strategy random",
            )
        if self.clusters_per_batch > self.batch_size:
            raise TasbError(
                expected=f"sampling.clusters_per_batch of at most the batch size, {self.batch_size}",
                found=str(self.clusters_per_batch),
                do="lower sampling.clusters_per_batch, or raise batch_size",
            )
        return ClusteredQueries(self.clusters, self.usable, self.clusters_per_batch)

    def uniform_pairs(self) -> PairChoice:
        """Any pair of a query (paper, Eq. 11)."""
        return UniformPairsWithin(self.pairs, self.cutoff) if self.cutoff else UniformPairs(self.pairs)

    def balanced_pairs(self) -> PairChoice:
        """A pair from a random bin of margins (paper, Eq. 13).

        Raises:
            TasbError: the pairs have only labels, and so no margins.
        """
        self.require_margins()
        return BalancedPairs(self.pairs, self.cutoff, BINNINGS[self.binning], self.bins)

    def require_margins(self) -> None:
        """Refuse pairs with labels only, for a strategy that reads margins.

        Raises:
            TasbError: there are no margins.
        """
        if self.pairs.supervision == "labels":
            raise _without_margins(f"strategy {self.strategy}", "use strategy tas or random")

    def sampler(self, queries: QueryChoice, pairs: PairChoice) -> Sampler:
        """The sampler that chooses a batch's queries, then a pair for each of them.

        Of several negatives, `pairs` chooses the first. The others are drawn evenly over the bins of margins where it
        is `balanced_pairs()`, and else uniformly.

        Args:
            queries: such as `uniform_queries()`.
            pairs: such as `balanced_pairs()`.

        Raises:
            TasbError: fewer usable queries than a batch has.
        """
        if len(queries) < self.batch_size:
            raise self._too_few(queries)
        further = None
        if self.negatives > 1:
            bins = self.bins if isinstance(pairs, BalancedPairs) else 1
            further = FurtherNegatives(self.pairs, self.cutoff, BINNINGS[self.binning], bins, self.negatives)
        return _Sampler(self.seed, self.batch_size, queries, pairs, further)

    def _too_few(self, queries: QueryChoice) -> TasbError:
        conditions = ["with pairs"] + ["in a cluster"] * isinstance(queries, ClusteredQueries)
        conditions += ["with a margin inside the cutoff"] * bool(self.cutoff)
        return TasbError(
            expected=f"at least batch_size = {self.batch_size:,} queries " + " and ".join(conditions),
            found=f"{len(queries):,}",
            do="lower batch_size, or train on more queries" + (", or widen the margin cutoff" if self.cutoff else ""),
        )


SAMPLINGS: Registry[Callable[[Sampling], Sampler]] = Registry("sampling strategy", "samplings", takes=("a Sampling",))


@SAMPLINGS.register("random")
def random(sampling: Sampling) -> Sampler:
    """Any queries, and any pair of each (paper, Figure 2a)."""
    return sampling.sampler(sampling.uniform_queries(), sampling.uniform_pairs())


@SAMPLINGS.register("tas")
def tas(sampling: Sampling) -> Sampler:
    """TAS: queries of few clusters, and any pair of each (paper, Figure 2b)."""
    return sampling.sampler(sampling.clustered_queries(), sampling.uniform_pairs())


@SAMPLINGS.register("tas-balanced")
def tas_balanced(sampling: Sampling) -> Sampler:
    """TAS-Balanced: queries of few clusters, and for each a pair from a random bin of margins (paper, Figure 2c)."""
    pairs = sampling.balanced_pairs()
    return sampling.sampler(sampling.clustered_queries(), pairs)


@SAMPLINGS.register("balanced")
def balanced(sampling: Sampling) -> Sampler:
    """Any queries, and for each a pair from a random bin of margins: TAS-Balanced without clusters."""
    pairs = sampling.balanced_pairs()
    return sampling.sampler(sampling.uniform_queries(), pairs)


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
    negatives: int = 1,
) -> Sampler:
    """A sampler whose batches depend only on seed and step.

    Every batch has exactly `batch_size` queries, none of them twice. Queries without pairs are never drawn, nor are
    those without a pair inside the margin cutoff.

    Args:
        strategy: a name of `SAMPLINGS`.
        pairs: what to draw from.
        batch_size: b, queries in a batch.
        seed: a whole number of 0 or more, below 2^64.
        clusters: the queries of each cluster, numbered as in `pairs`; `random` and `balanced` do not use them.
        clusters_per_batch: n; each cluster supplies ⌊b / n⌋ queries.
        bins: h, for `tas-balanced` and `balanced`.
        binning: a name of `BINNINGS`, for these two.
        margin_cutoff: lowest and highest teacher's margin of a pair that is drawn; None is no limit.
        negatives: n, the number of negatives of each query.

    Raises:
        TasbError: an unknown name or a number out of range; no clusters, or wrong ones; margins are needed but `pairs`
            has labels only; fewer usable queries than `batch_size`.
    """
    build, _ = SAMPLINGS[strategy], BINNINGS[binning]
    _at_least_one(batch_size=batch_size, clusters_per_batch=clusters_per_batch, bins=bins, negatives=negatives)
    if not 0 <= seed < 2**64:
        raise TasbError(expected="a seed from 0, below 2^64", found=str(seed), do="choose another seed")
    cutoff = MarginCutoff(*margin_cutoff)
    if cutoff and pairs.supervision == "labels":
        raise _without_margins("a margin cutoff", "set no margin cutoff")
    asked = Sampling(strategy, pairs, batch_size, seed, clusters, clusters_per_batch, bins, binning, cutoff, negatives)
    sampler = build(asked)
    require_callable("sampler's `batch`", strategy, getattr(sampler, "batch", None), ("the step",))
    return sampler if isinstance(sampler, _Sampler) else _OfOneSize(sampler, batch_size, strategy, negatives)


@dataclass(frozen=True)
class _Sampler:
    seed: int
    batch_size: int
    queries: QueryChoice
    pairs: PairChoice
    further: FurtherNegatives | None

    def batch(self, step: int) -> SampledBatch:
        queries = self.queries.choose(self.batch_size, Uniforms(self.seed, step, Purpose.QUERIES))
        rows = self.pairs.choose(queries, Uniforms(self.seed, step, Purpose.PAIRS))
        if self.further is not None:
            rows = self.further.choose(queries, rows, Uniforms(self.seed, step, Purpose.FURTHER_NEGATIVES))
        return SampledBatch(queries, rows)


@dataclass(frozen=True)
class _OfOneSize:
    """A sampler from outside, whose batches all have the size that was asked for."""

    sampler: Sampler
    batch_size: int
    strategy: str
    negatives: int

    def batch(self, step: int) -> SampledBatch:
        sampled = self.sampler.batch(step)
        found = np.asarray(getattr(sampled, "queries", None)).shape
        if found != (self.batch_size,):
            raise TasbError(
                expected=f"batches of {self.batch_size} queries, from the sampling strategy `{self.strategy}`",
                found=f"queries of shape {found} in step {step}",
                do="fix the strategy (docs/extend.md)",
            )
        rows = np.asarray(getattr(sampled, "rows", None)).shape
        if self.negatives > 1 and rows != (self.batch_size, self.negatives):
            raise TasbError(
                expected=f"rows of shape {(self.batch_size, self.negatives)}, from the sampling strategy "
                f"`{self.strategy}`",
                found=f"rows of shape {rows} in step {step}",
                do="let the strategy return `sampling.sampler(…)`, which draws several negatives, or set "
                "sampling.negatives to 1",
            )
        return sampled


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise TasbError(expected=f"{name} of at least 1", found=str(number), do=f"change {name}")


def _without_margins(what: str, instead: str) -> TasbError:
    return TasbError(
        expected=f"a teacher's scores or margins in the pair store, for {what}",
        found="pairs with labels only",
        do=f"{instead}, or score the pairs with a teacher first (`tasb score`)",
    )


# Which queries make a batch: any (paper, Eq. 9), or those of few clusters (Eq. 11).


class QueryChoice(Protocol):
    """Chooses a batch's queries."""

    def __len__(self) -> int:
        """How many queries there are to choose from."""

    def choose(self, count: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """`count` distinct queries."""


class UniformQueries:
    """All queries are equally likely.

    Args:
        usable: [queries] true for queries that may be drawn.
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
    """Topic-aware sampling: queries of `clusters_per_batch` clusters, all equally likely, whatever their size.

    Each drawn cluster supplies ⌊b / n⌋ queries, or all that it has left. Further clusters follow until the batch is
    full. If all clusters were drawn, a cluster can be drawn again, and then supplies other queries: a batch never has a
    query twice.

    Args:
        clusters: the queries of each cluster. Queries that are in no cluster are never drawn.
        usable: [queries] true for queries that may be drawn. Clusters without such queries are never drawn.
        clusters_per_batch: n.

    Raises:
        TasbError: a query does not exist, or is in two clusters.
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
    """Draws each of a query's bins that hold a pair equally often, then each pair in the bin.

    Args:
        pairs: a pair store with a teacher's margins; pairs whose margin is not finite are left out.
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


@dataclass(frozen=True)
class FurtherNegatives:
    """Adds negatives to each query's pair: n rows of one positive, evenly over the bins of the teacher's margins.

    The bins are those of the positive's own pairs. They have turns, in random order, and give a negative each, until n
    are drawn. So the negatives cover the range of the teacher's scores, as in stratified sampling (arXiv:2604.04734).
    No negative comes again before all came; a positive with fewer than n negatives has them in turn.

    Args:
        pairs: a pair store.
        cutoff: the bins are those of the pairs it keeps.
        binning: how the pairs are binned.
        bins: h; with 1, all pairs of the positive are equally likely, and without a cutoff no margin is read.
        negatives: n, with the pair that was chosen first.
    """

    pairs: ScoredPairs
    cutoff: MarginCutoff
    binning: Binning
    bins: int
    negatives: int

    def choose(self, queries: NDArray[np.int64], first: NDArray[np.int64], uniforms: Uniforms) -> NDArray[np.int64]:
        """[b, n] rows of the pairs; the first column is `first`.

        Args:
            queries: [b].
            first: [b] a row of each query.
            uniforms: where the randomness comes from.

        Raises:
            TasbError: a row of `first` is not its query's, or the cutoff leaves it out.
        """
        rows, counts, found = self._of_positives(queries, first)
        owners, size = list_numbers(counts), len(queries)
        bin_order = uniforms.take(size * self.bins).reshape(size, self.bins)
        is_first = rows == np.repeat(first, counts)
        if is_first.sum() != size:
            raise TasbError(
                expected="pairs of the batch's queries, inside the margin cutoff, from the sampling strategy",
                found="another pair",
                do="fix the strategy, or choose another as sampling.strategy",
            )
        keys = np.where(is_first, -1.0, uniforms.take(len(rows)))
        # The first row's bin has its turn first.
        bin_order[np.arange(size), found[is_first]] = -1.0
        groups = owners * self.bins + found
        shuffled = np.lexsort((keys, groups))
        sizes = np.bincount(groups, minlength=size * self.bins)
        turns = np.empty(len(rows), np.int64)
        turns[shuffled] = np.arange(len(rows)) - np.repeat(list_starts(sizes), sizes)
        order = np.lexsort((bin_order[owners, found], turns, owners))
        places = np.arange(self.negatives) % counts[:, None]
        chosen: NDArray[np.int64] = rows[order[list_starts(counts)[:, None] + places]]
        return chosen

    def _of_positives(
        self, queries: NDArray[np.int64], first: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the pairs that have the positive of `first`, query after query; how many; the bin of each."""
        if self.cutoff or self.bins > 1:
            rows, margins, counts = _candidates(self.pairs, queries, self.cutoff)
        else:
            starts, counts = _pair_rows(self.pairs, queries)
            rows, margins = ranges(starts, counts), np.zeros(0, np.float32)
        same = self.pairs.positives[rows] == np.repeat(self.pairs.positives[first], counts)
        owners = list_numbers(counts)[same]
        counts, rows = np.bincount(owners, minlength=len(queries)), rows[same]
        if self.bins == 1:
            return rows, counts, np.zeros(len(rows), np.int64)
        return rows, counts, self.binning(margins[same], counts, self.bins)


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


# Random numbers that depend on seed, step and purpose alone.


class Purpose(IntEnum):
    """Each purpose has numbers of its own: how pairs are chosen changes nothing about which queries are."""

    QUERIES = 1
    PAIRS = 2
    FURTHER_NEGATIVES = 3


class Uniforms:
    """Uniform random numbers in [0, 1), the same for the same seed, step and purpose.

    They come from Philox (Salmon et al., SC 2011), a function of key and counter. Only its raw 64-bit output is used:
    NumPy guarantees that output to stay as it is, but not the methods of `Generator`.

    Args:
        seed: a whole number of 0 or more, below 2^64.
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
        size: the number of numbers.
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
