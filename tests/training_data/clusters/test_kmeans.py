"""K-means on real faiss: hand-checked numbers, planted clusters, and what the two metrics mean."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from pyserini_tasb.data.kmeans import METRICS, kmeans
from pyserini_tasb.errors import TasbError

DIMENSION, PLANTED = 32, 8
SEED_OF_TWO_SIDES = 0  # its first centroids are on either side; from two of one side, k-means stays in a worse optimum


@pytest.fixture(scope="module")
def planted():
    """Vectors around 8 centres on the axes, far apart, and the centre of each."""
    generator = np.random.default_rng(0)
    centres = generator.integers(PLANTED, size=2_000)
    vectors = 10 * np.eye(DIMENSION, dtype=np.float32)[centres]
    return vectors + generator.standard_normal(vectors.shape, dtype=np.float32), centres


def groups(assignment):
    """The clusters as sets of rows, whatever their numbers."""
    return {frozenset(np.flatnonzero(assignment == cluster).tolist()) for cluster in set(assignment.tolist())}


@pytest.mark.parametrize("metric", METRICS)
def test_planted_clusters_are_recovered(planted, metric):
    vectors, centres = planted
    found = kmeans(vectors, 5 * PLANTED, metric=metric)
    for cluster in set(found.assignment.tolist()):
        assert len(set(centres[found.assignment == cluster])) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_it_is_what_faiss_does_in_one_call(planted, metric):
    vectors, _ = planted
    found = kmeans(vectors, 20, metric=metric, iterations=10, seed=5)
    at_once = faiss.Kmeans(DIMENSION, 20, niter=10, seed=5, spherical=metric == "spherical")
    at_once.train(vectors)
    assert np.allclose(found.centroids, at_once.centroids, atol=1e-6)
    assert found.assignment.tolist() == at_once.assign(vectors)[1].tolist()
    assert found.objective[0] * len(vectors) == pytest.approx(at_once.obj[0], rel=1e-6)


def test_euclidean_by_hand():
    corners = np.array([[0, 0], [0, 2], [10, 0], [10, 2]], dtype=np.float32)
    found = kmeans(corners, 2, metric="euclidean", seed=SEED_OF_TWO_SIDES)
    assert groups(found.assignment) == {frozenset({0, 1}), frozenset({2, 3})}
    assert sorted(found.centroids.tolist()) == [[0, 1], [10, 1]]
    assert found.objective[-1] == 1  # each corner is 1 away from its centroid, squared


def test_spherical_by_hand():
    # Unit vectors (1, 0), (0, 1) and longer ones of the same directions; each centroid is the unit vector.
    vectors = np.array([[1, 0], [5, 0], [0, 1], [0, 3]], dtype=np.float32)
    found = kmeans(vectors, 2, metric="spherical")
    assert sorted(found.centroids.tolist()) == [[0, 1], [1, 0]]
    assert found.objective[-1] == (1 + 5 + 1 + 3) / 4


def test_spherical_groups_directions_and_euclidean_groups_places():
    angles, lengths = np.meshgrid([0.0, 0.02, 0.5, 0.52], [1.0, 1.1, 20.0, 20.1])
    vectors = np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], axis=-1).reshape(-1, 2).astype(np.float32)
    found = {metric: groups(kmeans(vectors, 2, metric=metric, iterations=20).assignment) for metric in METRICS}
    directions, places = (angles.ravel() > 0.25).astype(int), (lengths.ravel() > 10).astype(int)
    assert found == {"spherical": groups(directions), "euclidean": groups(places)}


@pytest.mark.parametrize("metric", METRICS)
def test_objective_gets_better_at_each_iteration(planted, metric):
    found = kmeans(planted[0], 30, metric=metric, iterations=6)
    steps = np.diff(found.objective)
    assert len(found.splits) <= 6
    assert len(found.objective) == len(found.splits) + 1
    assert (steps >= -1e-4 if metric == "spherical" else steps <= 1e-4).all()
    assert abs(found.objective[-1] - found.objective[0]) > 0.1


def test_same_seed_same_bytes_whatever_the_threads(planted):
    vectors, _ = planted
    threads = faiss.omp_get_max_threads()
    runs = []
    for count in (1, threads, threads):
        faiss.omp_set_num_threads(count)
        runs.append(kmeans(vectors, 25, seed=3))
    faiss.omp_set_num_threads(threads)
    assert len({(run.centroids.tobytes(), run.assignment.tobytes(), run.objective) for run in runs}) == 1
    assert kmeans(vectors, 25, seed=4).assignment.tobytes() != runs[0].assignment.tobytes()


def test_it_stops_when_no_centroid_moves():
    corners = np.array([[0, 0], [0, 2], [10, 0], [10, 2]], dtype=np.float32)
    found = kmeans(corners, 2, metric="euclidean", iterations=50)
    assert len(found.splits) < 5


def test_more_queries_than_points_per_centroid_are_sampled_and_all_are_assigned(planted):
    vectors, _ = planted
    found = kmeans(vectors, 10, points_per_centroid=50)
    assert found.training_queries == 500
    assert len(found.assignment) == len(vectors)
    assert kmeans(vectors, 10, points_per_centroid=50).assignment.tobytes() == found.assignment.tobytes()
    assert kmeans(vectors, 10).training_queries == len(vectors)


def test_memory_mapped_vectors(planted, tmp_path):
    vectors, _ = planted
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert kmeans(mapped, 10).assignment.tobytes() == kmeans(vectors, 10).assignment.tobytes()


@pytest.mark.parametrize("clusters", [0, -1, 2_000, 2_001])
def test_impossible_numbers_of_clusters(planted, clusters):
    with pytest.raises(TasbError, match="fewer than the 2000 queries"):
        kmeans(planted[0], clusters)


@pytest.mark.parametrize("options", [{"iterations": 0}, {"points_per_centroid": 1}])
def test_impossible_options(planted, options):
    with pytest.raises(TasbError, match="at least 1 iteration and 2 points"):
        kmeans(planted[0], 5, **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_named(planted, value):
    vectors = planted[0].copy()
    vectors[41, 3] = value
    with pytest.raises(TasbError, match="vector of query 42"):
        kmeans(vectors, 5)
