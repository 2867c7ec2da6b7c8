"""Statistics against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb.data.kmeans import agreement, inertia, members, read_labels, sizes
from pyserini_tasb.errors import TasbError


def test_sizes():
    found = sizes(np.array([0, 0, 0, 2, 2, 4]), 6, batch_size=3)
    assert (found.min, found.median, found.mean, found.max) == (1, 2, 2, 3)
    assert (found.empty, found.smaller_than_batch) == (3, 2)


def test_inertia_is_the_sum_of_squared_distances_to_the_means():
    vectors = np.array([[0, 0], [0, 2], [10, 0], [10, 4], [7, 7]], dtype=np.float32)
    assert inertia(vectors, np.array([1, 1, 0, 0, 5])) == (1 + 1) + (4 + 4) + 0


def test_inertia_of_long_vectors_loses_nothing():
    # In float32, the mean of these would be off by 0.02.
    vectors = np.array([[1_000_001], [1_000_002], [1_000_004]], dtype=np.float32)
    assert inertia(vectors, np.zeros(3, dtype=np.int64)) == pytest.approx(14 / 3, rel=1e-9)


def test_members_are_in_the_order_of_clusters_and_of_queries():
    assert [rows.tolist() for rows in members(np.array([3, 0, 3, 1, 0]))] == [[1, 4], [3], [0, 2]]


def test_agreement_by_hand():
    ids = ["a", "b", "c", "d", "e", "f"]
    assignment = np.array([7, 7, 7, 2, 2, 2])
    labels = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "y", "other": "x"}
    found = agreement(ids, assignment, labels, seed=0)
    assert (found.queries, found.labels) == (5, 2)
    assert found.purity == (2 + 2) / 5
    # H(labels) = H(clusters) = H(2/5); I = 2/5·ln((2/5)/(3/5·2/5)) + 1/5·ln((1/5)/(3/5·3/5)) + 2/5·ln((2/5)/(2/5·3/5))
    entropy = -(0.4 * np.log(0.4) + 0.6 * np.log(0.6))
    mutual = 0.4 * np.log(5 / 3) + 0.2 * np.log(5 / 9) + 0.4 * np.log(5 / 3)
    assert found.nmi == pytest.approx(mutual / entropy)


def test_labels_that_are_the_clusters_and_labels_of_chance():
    generator = np.random.default_rng(0)
    assignment = generator.integers(20, size=4_000)
    ids = [str(row) for row in range(4_000)]
    same = agreement(ids, assignment, {qid: f"L{c}" for qid, c in zip(ids, assignment, strict=True)}, seed=0)
    assert (same.purity, same.nmi) == (1, pytest.approx(1))
    assert same.random_purity < 0.12
    assert same.random_nmi < 0.05
    chance = agreement(ids, assignment, {qid: str(generator.integers(4)) for qid in ids}, seed=0)
    assert chance.purity == pytest.approx(chance.random_purity, abs=0.02)
    assert chance.nmi == pytest.approx(chance.random_nmi, abs=0.005)


def test_labels_are_those_of_the_queries(tmp_path):
    (tmp_path / "labels.tsv").write_text("c\tx\nb\ttwo words\n")
    assert read_labels(tmp_path / "labels.tsv", ["a", "b"]) == {"b": "two words"}
    with pytest.raises(TasbError, match=r"labels\.tsv(?s:.*)2 labels, none of them of these 1 queries"):
        read_labels(tmp_path / "labels.tsv", ["a"])
