"""Vectors of queries that were asked lately: bounded, by recent use, from any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pyserini_tasb.encoding.encoders import QueryCache, TasbQueryEncoder
from tests.conftest import TINY_MODEL


def vector(number):
    return np.full((1, 2), number, dtype=np.float32)


def test_the_least_recently_used_makes_room():
    cache = QueryCache(2)
    cache.add([("a", 8)], vector(1))
    cache.add([("b", 8)], vector(2))
    assert cache.known([("a", 8)]).keys() == {("a", 8)}
    cache.add([("c", 8)], vector(3))
    assert cache.known([("a", 8), ("b", 8), ("c", 8)]).keys() == {("a", 8), ("c", 8)}
    assert len(cache) == 2


def test_a_query_cut_elsewhere_is_another():
    cache = QueryCache(2)
    cache.add([("a", 8)], vector(1))
    assert not cache.known([("a", 9)])


def test_a_cache_of_none():
    cache = QueryCache(0)
    cache.add([("a", 8)], vector(1))
    assert not cache.known([("a", 8)])


def test_kept_vectors_do_not_keep_their_batch():
    batch = np.zeros((1000, 2), dtype=np.float32)
    cache = QueryCache(10)
    cache.add([("a", 8)], batch[:1])
    assert cache.known([("a", 8)])["a", 8].base is None


class Counting:
    """An encoder that says what it was asked."""

    def __init__(self, encoder):
        self.encoder, self.asked = encoder, []

    def encode(self, texts, **options):
        self.asked += texts
        return self.encoder.encode(texts, **options)


def counted(**options):
    encoder = TasbQueryEncoder(str(TINY_MODEL), **options)
    encoder._encoder = Counting(encoder._encoder)
    return encoder, encoder._encoder.asked


def test_a_repeated_query_is_encoded_once(collection):
    encoder, asked = counted()
    first, second, *_ = collection.topics.values()
    vectors = encoder.encode_batch([first, second, first])
    assert asked == [first, second]
    assert np.array_equal(vectors[0], vectors[2])
    assert np.array_equal(encoder.encode(second), vectors[1])
    assert asked == [first, second]
    encoder.encode(second, max_length=4)
    assert asked == [first, second, second]


def test_what_a_caller_does_with_a_vector_changes_no_later_one():
    encoder, _ = counted()
    first = encoder.encode("sort")
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(encoder.encode("sort"), kept)


def test_no_cache_where_none_is_wanted():
    encoder, asked = counted(queries_kept=0)
    vectors = [encoder.encode("sort"), encoder.encode("sort")]
    assert asked == ["sort", "sort"]
    assert np.array_equal(*vectors)


def test_many_threads_share_a_cache(collection):
    encoder = TasbQueryEncoder(str(TINY_MODEL), queries_kept=5)
    queries = list(collection.topics.values())
    expected = TasbQueryEncoder(str(TINY_MODEL), queries_kept=0).encode_batch(queries)
    rows = np.random.default_rng(0).integers(0, len(queries), 200)
    with ThreadPoolExecutor(8) as pool:
        vectors = np.stack(list(pool.map(lambda row: encoder.encode(queries[row]), rows)))
    np.testing.assert_allclose(vectors, expected[rows], atol=1e-4)
    assert len(encoder._cache) == 5
