"""One ranking out of those of several shards: the best documents, each once, ties by docid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.indexes.rankings import NO_RANKING, Ranking, best_of_each, merged

HITS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abcdefghij")), max_size=12)


def ranked(hits, depth, *, descending):
    """The ranking that `merged` should find, by the definition."""
    best = {}
    for score, docid in hits:
        best[docid] = max(score, best.get(docid, score))
    order = sorted(best, reverse=True) if descending else sorted(best)
    order.sort(key=lambda docid: -best[docid])
    return [(docid, best[docid]) for docid in order[:depth]]


def ranking(hits, depth, *, descending):
    scores, docids = np.array([hit[0] for hit in hits], np.float32), [hit[1] for hit in hits]
    kept = best_of_each(scores, docids, depth, descending_docids=descending)
    return Ranking(scores[kept], [docids[place] for place in kept])


@given(st.lists(HITS, max_size=6), st.integers(1, 15), st.booleans())
def test_the_best_of_all_shards(shards, depth, descending):
    found = merged(
        [ranking(hits, depth, descending=descending) for hits in shards], depth, descending_docids=descending
    )
    expected = ranked([hit for hits in shards for hit in hits], depth, descending=descending)
    assert list(zip(found.docids, found.scores.tolist(), strict=True)) == expected


def test_nothing():
    assert len(merged([], 5)) == len(merged([NO_RANKING, NO_RANKING], 5)) == 0


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_without_own_document(depth):
    whole = Ranking(np.array([3, 2, 1], np.float32), ["c", "b", "a"])
    assert whole.without("b", depth).docids == ["c", "a"][:depth]
    assert whole.without("z", depth).docids == ["c", "b", "a"][:depth]
