"""Queries of a batch: the hand-checked cases, properties over random clusters, and how likely each query is."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.sampling import ClusteredQueries, Purpose, UniformQueries, Uniforms
from tests.conftest import DATA
from tests.training.sampling.pairs_in_memory import clusters_of

ORACLE = json.loads((DATA / "train" / "oracle_sampler.json").read_text())


def usable(*sizes):
    return np.ones(sum(sizes), bool)


def clustered(sizes, clusters_per_batch=1):
    return ClusteredQueries(clusters_of(sizes), usable(*sizes), clusters_per_batch)


def drawn(queries, count, step=0, seed=11):
    return queries.choose(count, Uniforms(seed, step, Purpose.QUERIES)).tolist()


def by_cluster(sizes, queries):
    """How many queries of each cluster, in the order in which the clusters first appear."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return list(Counter(labels[queries].tolist()).items())


def case(sizes):
    (found,) = (case for case in ORACLE["cases"] if case["cluster_sizes"] == sizes)
    return found["cluster_sizes"], found["b"], found["n"]


def test_oracle_one_cluster():
    sizes, b, n = case([50])
    assert len(set(drawn(clustered(sizes, n), b))) == b == 32


def test_oracle_top_up():
    sizes, b, n = case([5, 50])
    batches = [drawn(clustered(sizes, n), b, step) for step in range(40)]
    assert all(len(set(batch)) == b for batch in batches)
    shapes = {tuple(by_cluster(sizes, batch)) for batch in batches}
    assert shapes == {((0, 5), (1, 27)), ((1, 32),)}


def test_oracle_four_clusters():
    sizes, b, n = case([20] * 5)
    for step in range(40):
        batch = drawn(clustered(sizes, n), b, step)
        assert len(set(batch)) == b
        assert [count for _, count in by_cluster(sizes, batch)] == [8] * 4


def test_oracle_the_same_cluster_again():
    sizes, b, n = case([40])
    for step in range(40):
        assert len(set(drawn(clustered(sizes, n), b, step))) == b == 33


def test_oracle_probability_of_a_query():
    oracle = ORACLE["query_probability_example"]
    queries, draws = clustered(oracle["cluster_sizes"], oracle["n"]), 20_000
    counts = Counter(query for step in range(draws) for query in drawn(queries, oracle["b"], step))
    first, second = oracle["cluster_sizes"]
    expected = [oracle["p_query_in_first"]] * first + [oracle["p_query_in_second"]] * second
    assert sum(expected) == pytest.approx(1)
    assert chisquare([counts[query] for query in range(first + second)], np.array(expected) * draws).pvalue > 0.01


def test_the_remainder_comes_from_one_more_cluster():
    batch = drawn(clustered([20] * 6, 5), 33)  # ⌊33 / 5⌋ = 6
    assert [count for _, count in by_cluster([20] * 6, batch)] == [6, 6, 6, 6, 6, 3]


def test_clusters_are_drawn_uniformly_whatever_their_size():
    sizes = [3, 400, 10, 50, 7]
    queries = clustered(sizes, 2)
    firsts, pairs = Counter(), Counter()
    for step in range(20_000):
        (first, _), (second, _) = by_cluster(sizes, drawn(queries, 2, step))
        firsts[first] += 1
        pairs[first, second] += 1
    assert len(firsts) == 5
    assert chisquare(list(firsts.values())).pvalue > 0.01
    assert len(pairs) == 5 * 4  # never the same cluster twice
    assert chisquare(list(pairs.values())).pvalue > 0.01


def test_queries_of_a_cluster_are_drawn_uniformly():
    counts = Counter(query for step in range(4_000) for query in drawn(clustered([12]), 5, step))
    assert chisquare([counts[query] for query in range(12)]).pvalue > 0.01


def test_without_clusters_all_queries_are_equally_likely():
    allowed = np.arange(30) % 3 != 0
    batches = [drawn(UniformQueries(allowed), 7, step) for step in range(4_000)]
    assert all(len(set(batch)) == 7 for batch in batches)
    counts = Counter(query for batch in batches for query in batch)
    assert sorted(counts) == np.flatnonzero(allowed).tolist()
    assert chisquare(list(counts.values())).pvalue > 0.01


@st.composite
def situations(draw):
    """Clusters of random sizes, empty ones too, over some queries that may not be drawn, in shuffled numbering."""
    sizes = draw(st.lists(st.integers(0, 25), min_size=1, max_size=12))
    outside = draw(st.integers(0, 5))  # queries in no cluster
    total = sum(sizes) + outside
    numbers = np.array(draw(st.permutations(range(total))), np.int64)
    clusters = [numbers[cluster] for cluster in clusters_of(sizes)]
    allowed = np.array(draw(st.lists(st.booleans(), min_size=total, max_size=total)), bool)
    return clusters, allowed


@given(situations(), st.data())
@settings(max_examples=100)
def test_invariants(situation, data):
    clusters, allowed = situation
    available = {query for cluster in clusters for query in cluster.tolist() if allowed[query]}
    if not available:
        return
    b = data.draw(st.integers(1, len(available)), label="b")
    n = data.draw(st.integers(1, b), label="n")
    queries = ClusteredQueries(clusters, allowed, n)
    assert len(queries) == len(available)
    step = data.draw(st.integers(0, 2**63), label="step")
    batch = drawn(queries, b, step)
    assert len(batch) == b
    assert len(set(batch)) == b
    assert set(batch) <= available
    assert drawn(queries, b, step) == batch

    share = b // n
    label = {query: label for label, cluster in enumerate(clusters) for query in cluster.tolist()}
    sizes = Counter(label[query] for query in available)
    taken = Counter(label[query] for query in batch)
    last = label[batch[-1]]
    rounds = max(-(-count // share) for count in taken.values())
    for label, size in sizes.items():
        # Every cluster is drawn once before any is drawn again, and supplies its share each time.
        if rounds > 1:
            assert taken[label] >= min((rounds - 1) * share, size)
        elif label in taken and label != last:
            assert taken[label] == min(share, size)


def test_a_query_in_two_clusters():
    with pytest.raises(TasbError, match="query 1 in cluster 0 and again in cluster 2, and 1 more"):
        ClusteredQueries([np.array([1, 3]), np.array([0]), np.array([3, 2, 1])], usable(5), 1)


def test_a_query_twice_in_one_cluster():
    with pytest.raises(TasbError, match="query 1 in cluster 0 and again in cluster 0"):
        ClusteredQueries([np.array([1, 1])], usable(5), 1)


@pytest.mark.parametrize("stranger", [-1, 5])
def test_a_query_that_does_not_exist(stranger):
    with pytest.raises(TasbError, match=f"query {stranger} in cluster 1, and 0 more"):
        ClusteredQueries([np.array([1, 2]), np.array([3, stranger])], usable(5), 1)
