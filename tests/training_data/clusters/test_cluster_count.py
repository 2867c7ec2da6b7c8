from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.data.clusters import number_of_clusters, small_clusters_warning
from pyserini_tasb.errors import TasbError


@pytest.mark.parametrize(
    ("queries", "batch_size", "clusters"),
    [(400_000, 32, 2_000), (808_731, 32, 2_000), (49_410, 32, 514), (400_000, 256, 520), (96, 32, 1), (32, 32, 1)],
)
def test_default(queries, batch_size, clusters):
    assert number_of_clusters(queries, batch_size) == clusters


@given(batch_size=st.integers(1, 512), batches=st.floats(1, 5_000))
def test_default_averages_three_batches(batch_size, batches):
    queries = int(batch_size * batches)
    clusters = number_of_clusters(queries, batch_size)
    assert 1 <= clusters <= 2_000
    assert clusters == 1 or queries / clusters >= 3 * batch_size
    assert small_clusters_warning(queries, clusters, batch_size) is None


@pytest.mark.parametrize(("queries", "batch_size"), [(31, 32), (0, 1), (10, 0)])
def test_fewer_queries_than_a_batch(queries, batch_size):
    for wanted in (None, 3):
        with pytest.raises(TasbError, match="at least as many usable queries"):
            number_of_clusters(queries, batch_size, wanted)


def test_explicit_number_is_kept_and_warned_about():
    assert number_of_clusters(1_000, 32, 40) == 40
    assert small_clusters_warning(1_000, 31, 32) is None
    warning = small_clusters_warning(1_000, 40, 32)
    assert "25.0 queries on average, fewer than a batch of 32" in warning
    assert "10 clusters (the default)" in warning


def test_one_cluster_is_no_advice():
    warning = small_clusters_warning(40, 3, 32)
    assert "(the default)" not in warning
    assert "add queries, or use a smaller batch" in warning
