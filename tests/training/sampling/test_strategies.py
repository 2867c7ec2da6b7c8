"""Samplers by name: what differs between them, and which mistakes are refused."""

from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.sampling import SAMPLINGS, build_sampler
from tests.training.sampling.pairs_in_memory import clusters_of, pairs_of

pytestmark = pytest.mark.bare

SIZES = [30, 5, 12, 40]
WITHOUT_CLUSTERS = ("random", "balanced")
QUERIES = sum(SIZES) + 3  # three are in no cluster
MARGINS = [
    np.random.default_rng(query).exponential(3, size=0 if query % 10 == 4 else 1 + query % 25).tolist()
    for query in range(QUERIES)
]
PAIRS = pairs_of(MARGINS)


def build(strategy="tas-balanced", **options):
    defaults = {"batch_size": 16, "seed": 3, "clusters": clusters_of(SIZES)}
    return build_sampler(strategy, options.pop("pairs", PAIRS), **{**defaults, **options})


def stream(sampler, steps):
    return [(sampled.queries.tolist(), sampled.rows.tolist()) for sampled in map(sampler.batch, steps)]


@pytest.mark.parametrize("strategy", SAMPLINGS)
@pytest.mark.parametrize("binning", ["equal-width", "quantile"])
@pytest.mark.parametrize("clusters_per_batch", [1, 3])
@pytest.mark.parametrize("cutoff", [(None, None), (0.5, 6.0)])
def test_every_batch(strategy, binning, clusters_per_batch, cutoff):
    sampler = build(strategy, binning=binning, clusters_per_batch=clusters_per_batch, margin_cutoff=cutoff)
    for step in range(60):
        sampled = sampler.batch(step)
        assert sampled.queries.dtype == sampled.rows.dtype == np.int64
        assert sampled.queries.shape == sampled.rows.shape == (16,)
        assert len(set(sampled.queries.tolist())) == 16
        assert (sampled.queries % 10 != 4).all()  # these have no pairs
        assert (PAIRS.offsets[sampled.queries] <= sampled.rows).all()
        assert (sampled.rows < PAIRS.offsets[sampled.queries + 1]).all()
        margins = PAIRS.margins(sampled.rows)
        assert margins.min() >= (cutoff[0] or 0)
        assert margins.max() <= (cutoff[1] or np.inf)


@pytest.mark.parametrize("strategy", SAMPLINGS)
def test_a_batch_is_a_function_of_seed_and_step(strategy):
    whole = stream(build(strategy), range(30))
    sampler = build(strategy)
    assert stream(sampler, reversed(range(30))) == whole[::-1]
    assert stream(sampler, range(17, 30)) == whole[17:]
    assert stream(build(strategy, seed=4), range(30)) != whole
    assert len({str(batch) for batch in whole}) == 30


def test_the_stream_never_changes():
    """A resumed run, and whoever repeats an experiment, gets the batches of the first one."""
    pairs = pairs_of([[float(number**3) for number in range(query % 7 + 1)] for query in range(20)])
    options = {"batch_size": 4, "seed": 208_973_249, "clusters": clusters_of([8, 12]), "bins": 3}
    assert {name: stream(build_sampler(name, pairs, **options), [1_001]) for name in SAMPLINGS} == {
        "random": [([13, 0, 16, 19], [54, 0, 60, 74])],
        "tas": [([15, 17, 19, 11], [58, 62, 73, 40])],
        "tas-balanced": [([15, 17, 19, 11], [58, 63, 75, 41])],
        "balanced": [([13, 0, 16, 19], [55, 0, 59, 75])],
    }


def test_strategies_share_what_they_have_in_common():
    queries = {name: [draw[0] for draw in stream(build(name), range(9))] for name in SAMPLINGS}
    assert queries["tas"] == queries["tas-balanced"] != queries["random"] == queries["balanced"]
    assert stream(build("tas"), range(9)) != stream(build("tas-balanced"), range(9))


def test_tas_keeps_to_one_cluster_and_random_does_not():
    labels = np.repeat(range(len(SIZES) + 1), [*SIZES, 3])

    def clusters_in(sampled):
        return len(set(labels[sampled.queries].tolist()))

    large = [cluster for cluster, size in zip(clusters_of(SIZES), SIZES, strict=True) if size >= 30]
    assert {clusters_in(build("tas", clusters=large).batch(step)) for step in range(20)} == {1}
    assert min(clusters_in(build("random").batch(step)) for step in range(20)) > 1


def test_balancing_flattens_the_distribution_of_margins():
    """Most pairs are easy (paper, Section 3): uniformly drawn, hard ones are rare."""
    pairs = pairs_of([[0.0, *[10.0] * 49] for _ in range(64)])
    clusters = clusters_of([32, 32])

    def share_of_hard(strategy):
        sampler = build(strategy, pairs=pairs, clusters=clusters, batch_size=32)
        return np.mean([pairs.margins(sampler.batch(step).rows) == 0 for step in range(200)])

    assert share_of_hard("tas") == pytest.approx(0.02, abs=0.01)
    assert share_of_hard("tas-balanced") == pytest.approx(0.5, abs=0.02)
    assert share_of_hard("random") == pytest.approx(0.02, abs=0.01)
    assert share_of_hard("balanced") == pytest.approx(0.5, abs=0.02)


def test_labels_alone():
    labels = pairs_of(MARGINS, "labels")
    for strategy in ("random", "tas"):
        assert len(build(strategy, pairs=labels).batch(0).queries) == 16
        with pytest.raises(TasbError, match=r"for a margin cutoff(.|\n)*set no margin cutoff"):
            build(strategy, pairs=labels, margin_cutoff=(0.0, None))
    for strategy in ("tas-balanced", "balanced"):
        with pytest.raises(TasbError, match=rf"for strategy {strategy}(.|\n)*use strategy tas or random"):
            build(strategy, pairs=labels)


@pytest.mark.parametrize("strategy", SAMPLINGS)
def test_fewer_usable_queries_than_the_batch(strategy):
    usable = sum(
        1 for query, margins in enumerate(MARGINS) if margins and (strategy in WITHOUT_CLUSTERS or query < sum(SIZES))
    )
    assert len(build(strategy, batch_size=usable).batch(0).queries) == usable
    with pytest.raises(TasbError, match=f"batch_size = {usable + 1} queries with pairs(.|\n)*found: +{usable}\n"):
        build(strategy, batch_size=usable + 1)


def test_a_cutoff_that_leaves_too_few():
    with pytest.raises(TasbError, match=r"margin inside the cutoff(.|\n)*widen the margin cutoff"):
        build(margin_cutoff=(1_000.0, None))


def test_no_clusters():
    with pytest.raises(TasbError, match="`tasb cluster`"):
        build(clusters=None)
    with pytest.raises(TasbError, match=r"found: +0\n"):
        build(clusters=[])
    for strategy in WITHOUT_CLUSTERS:
        assert len(build(strategy, clusters=None).batch(0).queries) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "tas-balance"}, "random, tas, tas-balanced"),
        ({"binning": "equal"}, "equal-width, quantile"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"clusters_per_batch": 0}, "clusters_per_batch of at least 1"),
        ({"clusters_per_batch": 17}, "at most the batch size, 16"),
        ({"bins": 0}, "bins of at least 1"),
        ({"seed": -1}, "a seed from 0"),
        ({"seed": 2**64}, "a seed from 0"),
        ({"margin_cutoff": (2.0, 1.0)}, "at most the highest"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(TasbError, match=message):
        build(**options)
