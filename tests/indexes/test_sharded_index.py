"""Several folders searched as one: ties, and docids that occur more than once."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from pyserini_tasb.indexes import shards as shards_module
from pyserini_tasb.indexes.search import ShardedIndex, search_folder
from pyserini_tasb.indexes.shards import VectorShards
from tests.indexes.faiss_folders import write_faiss_folder


def test_large_batches_keep_every_tie(tmp_path):
    # Faiss multiplies 20 queries and more in blocks: equal vectors get unequal scores, by where in a block they stand.
    random = np.random.default_rng(1)
    vectors = np.repeat(random.standard_normal((40, 96), dtype=np.float32), 60, axis=0)
    docids = [f"{number:04}" for number in random.permutation(len(vectors))]
    whole = ShardedIndex([write_faiss_folder(tmp_path / "whole", docids, vectors)])
    parts = [slice(0, 1_030), slice(1_030, 1_031), slice(1_031, None)]
    paths = [
        write_faiss_folder(tmp_path / str(number), docids[part], vectors[part]) for number, part in enumerate(parts)
    ]
    queries = random.standard_normal((50, 96), dtype=np.float32)
    expected = whole.search(queries, 100, batch_size=1)
    for index, batch_size in ((whole, 50), (ShardedIndex(paths), 50), (ShardedIndex(paths), 1)):
        for hits, wanted in zip(index.search(queries, 100, batch_size), expected, strict=True):
            assert [index.docids[row] for row in hits.rows] == [docids[row] for row in wanted.rows]
            assert np.array_equal(hits.scores, wanted.scores)
    for query, hits in zip(queries, expected, strict=True):
        # The 60 copies of the best vector, and of those of the second best the 40 docids that come first.
        best, second = np.argsort(-(vectors[::60] @ query))[:2]
        order = [sorted(docids[60 * copy : 60 * copy + 60], reverse=True) for copy in (best, second)]
        assert [docids[row] for row in hits.rows] == order[0] + order[1][:40]


def test_a_docid_in_several_shards_counts_once_with_its_best_score(tmp_path):
    vectors = np.array([[5], [4], [3], [2], [1], [6], [2.5], [0.5]], np.float32)
    write_faiss_folder(tmp_path / "A", ["a", "b", "a", "c", "d"], vectors[:5])
    write_faiss_folder(tmp_path / "B", ["c", "b", "e"], vectors[5:])
    index = ShardedIndex([tmp_path / "A", tmp_path / "B"])
    (hits,) = index.search(np.ones((1, 1), np.float32), 5, 1)
    assert [index.docids[row] for row in hits.rows] == ["c", "a", "b", "d", "e"]
    assert hits.scores.tolist() == [6, 5, 4, 1, 0.5]


def test_many_copies_do_not_shorten_the_list(tmp_path):
    vectors = np.linspace(2, 1, 200, dtype=np.float32)[:, None]
    index = ShardedIndex([write_faiss_folder(tmp_path / "A", ["same"] * 150 + [f"d{n}" for n in range(50)], vectors)])
    (hits,) = index.search(np.ones((1, 1), np.float32), 10, 1)
    assert [index.docids[row] for row in hits.rows] == ["same", *(f"d{n}" for n in range(9))]


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_search_several_shards_at_a_time_and_find_the_same(tmp_path, threads, monkeypatch):
    random = np.random.default_rng(2)
    vectors = random.integers(-2, 3, (90, 16)).astype(np.float32)  # many ties
    docids = [f"{number:02}" for number in random.permutation(90)]
    paths = [write_faiss_folder(tmp_path / str(n), docids[n::3], vectors[n::3]) for n in range(3)]
    queries = random.integers(-2, 3, (20, 16)).astype(np.float32)
    expected = VectorShards(paths, 16).search(queries, 25)
    together = threading.Barrier(min(threads, 3))

    def at_the_same_time(*arguments):
        if next(calls) < together.parties:
            waited.append(together.wait(timeout=30))
        return search_folder(*arguments)

    calls, waited = itertools.count(), []
    monkeypatch.setattr(shards_module, "search_folder", at_the_same_time)
    found = VectorShards(paths, 16, threads=threads).search(queries, 25)
    assert sorted(waited) == list(range(together.parties))
    assert [each.docids for each in found] == [each.docids for each in expected]
    assert all(np.array_equal(one.scores, other.scores) for one, other in zip(found, expected, strict=True))
