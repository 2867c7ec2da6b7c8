"""The sampling strategies of the paper (Section 3 and Figure 2), by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.sampling.bins import BINNINGS
from pyserini_tasb.train.sampling.draw import Draw, Sampler, ScoredPairs
from pyserini_tasb.train.sampling.margin_cutoff import MarginCutoff
from pyserini_tasb.train.sampling.pairs import BalancedPairs, PairChoice, UniformPairs, UniformPairsWithin
from pyserini_tasb.train.sampling.queries import ClusteredQueries, QueryChoice, UniformQueries
from pyserini_tasb.train.sampling.uniforms import Purpose, Uniforms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")


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

    def draw(self, step: int) -> Draw:
        queries = self.queries.choose(self.batch_size, Uniforms(self.seed, step, Purpose.QUERIES))
        return Draw(queries, self.pairs.choose(queries, Uniforms(self.seed, step, Purpose.PAIRS)))


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
        do=f"{instead}, or score the pairs with a teacher first (`tasb data`)",
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
