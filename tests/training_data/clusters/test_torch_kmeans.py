"""K-means in torch: the steps of Faiss, from the same start to the same clusters."""

from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb.data import torch_kmeans
from pyserini_tasb.data.kmeans import METRICS, kmeans
from pyserini_tasb.data.torch_kmeans import first_rows, with_splits

pytestmark = pytest.mark.bare
DIMENSION = 16


@pytest.fixture(scope="module")
def vectors():
    """Vectors around 30 centres that overlap: a different start leads to different clusters."""
    generator = np.random.default_rng(0)
    centres = 2 * generator.standard_normal((30, DIMENSION))
    drawn = centres[generator.integers(30, size=3_000)] + generator.standard_normal((3_000, DIMENSION))
    return drawn.astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_it_finds_the_clusters_of_faiss(vectors, metric):
    pytest.importorskip("faiss")
    expected = kmeans(vectors, 40, metric=metric, seed=7)
    found = kmeans(vectors, 40, metric=metric, seed=7, device="cpu")
    assert (found.metric, found.splits, found.training_queries) == (metric, expected.splits, expected.training_queries)
    assert np.mean(found.assignment == expected.assignment) > 0.995
    assert found.objective == pytest.approx(expected.objective, rel=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_it_splits_clusters_as_faiss(metric):
    """With few different vectors, many centroids begin in the same place and lose all vectors.

    In the next iteration, the halves of a split cluster would be equally near to it but for rounding.
    """
    pytest.importorskip("faiss")
    generator = np.random.default_rng(1)
    places = generator.standard_normal((12, DIMENSION))[generator.integers(12, size=500)]
    vectors = (places + 0.01 * generator.standard_normal(places.shape)).astype(np.float32)
    vectors[::3] = vectors[0]
    expected = kmeans(vectors, 30, metric=metric, iterations=1)
    found = kmeans(vectors, 30, metric=metric, iterations=1, device="cpu")
    assert sum(expected.splits) > 5
    assert found.splits == expected.splits
    np.testing.assert_allclose(found.centroids, expected.centroids, atol=1e-4)


def test_a_sample_is_the_same_as_with_faiss(vectors):
    pytest.importorskip("faiss")
    expected = kmeans(vectors, 20, points_per_centroid=30)
    found = kmeans(vectors, 20, points_per_centroid=30, device="cpu")
    assert found.training_queries == expected.training_queries == 600
    assert np.mean(found.assignment == expected.assignment) > 0.995


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_change_nothing_but_last_bits(vectors, metric, monkeypatch):
    expected = kmeans(vectors, 40, metric=metric, device="cpu")
    monkeypatch.setattr(torch_kmeans, "PRODUCTS_AT_ONCE", 40 * 77)
    found = kmeans(vectors, 40, metric=metric, device="cpu")
    assert np.mean(found.assignment == expected.assignment) > 0.995
    assert found.objective == pytest.approx(expected.objective, rel=1e-4)


def test_the_same_bytes_again(vectors):
    first, second = (kmeans(vectors, 40, device="cpu") for _ in range(2))
    assert first.centroids.tobytes() == second.centroids.tobytes()
    assert first.assignment.tobytes() == second.assignment.tobytes()
    assert kmeans(vectors, 40, seed=5, device="cpu").centroids.tobytes() != first.centroids.tobytes()


def test_first_vectors_are_different_ones():
    found = first_rows(50, 49, seed=3)
    assert sorted(set(found.tolist())) == sorted(found.tolist())
    assert 0 <= found.min() <= found.max() < 50
    assert first_rows(50, 10, seed=3).tolist() == found[:10].tolist()


def test_half_of_a_cluster_goes_to_an_empty_one():
    means = np.array([[4.0, 4.0], [0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    found, splits = with_splits(means, np.array([99, 0, 1]), 100)
    assert splits == 1
    assert found[1] == pytest.approx(4 * np.array([1 + 1 / 1024, 1 - 1 / 1024]))
    assert found[0] == pytest.approx(4 * np.array([1 - 1 / 1024, 1 + 1 / 1024]))
    assert found[2].tolist() == [1, 1]
    assert means.tolist() == [[4, 4], [0, 0], [1, 1]]
