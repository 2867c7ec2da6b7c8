"""Pairs scored by a card: the dot products of the plain model, each text encoded once."""

from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.models import backends
from pyserini_tasb.reranking import scorers
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from tests.conftest import TINY_MODEL, plain_vectors
from tests.reranking.scorers.sides import make_sides
from tests.training_data.test_false_negatives import CountingTexts


@pytest.fixture(scope="module")
def scorer():
    return load_scorer(str(TINY_MODEL), ScoringOptions("cpu"))


@pytest.fixture(scope="module")
def sides(collection):
    """Queries, passages, pairs in no order with repetitions, and their plain scores."""
    queries, passages = list(collection.topics.values()), collection.texts[:40]
    randomness = np.random.default_rng(0)
    query_rows, passage_rows = randomness.integers(1, 10, 300), randomness.integers(0, 39, 300)
    matrix = plain_vectors(TINY_MODEL, queries) @ plain_vectors(TINY_MODEL, passages).T
    return queries, passages, query_rows, passage_rows, matrix[query_rows, passage_rows]


def test_scores_are_the_plain_dot_products(scorer, sides):
    queries, passages, query_rows, passage_rows, expected = sides
    scores = scorer.score_pairs(ListedTexts(queries), ListedTexts(passages), query_rows, passage_rows)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_each_text_that_occurs_is_encoded_once(scorer, sides):
    queries, passages, query_rows, passage_rows, _ = sides
    counted = CountingTexts(queries), CountingTexts(passages)
    scorer.score_pairs(*counted, query_rows, passage_rows)
    assert sorted(counted[0].read) == sorted(set(query_rows.tolist()))
    assert sorted(counted[1].read) == sorted(set(passage_rows.tolist()))


def test_blocks_change_nothing(scorer, sides, monkeypatch):
    queries, passages, query_rows, passage_rows, expected = sides
    monkeypatch.setattr(scorers, "TEXTS_PER_BLOCK", 7)
    monkeypatch.setattr(scorers, "PAIRS_PER_PRODUCT", 3)
    scores = scorer.score_pairs(ListedTexts(queries), ListedTexts(passages), query_rows, passage_rows)
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_no_pairs(scorer):
    none = np.empty(0, dtype=np.int64)
    assert scorer.score_pairs(ListedTexts(["q"]), ListedTexts(["p"]), none, none).shape == (0,)


def test_the_card_says_prefixes_and_lengths(tmp_path):
    card = tmp_path / "short.yaml"
    card.write_text(
        f"name: short\nmodel: {TINY_MODEL}\nquery_prefix: 'sort '\npassage_prefix: 'merge '\n"
        "query_max_length: 6\npassage_max_length: 5\nnormalise: true\n"
    )
    query, passage = "list of lists and lists", "list processing languages"
    one = np.zeros(1, dtype=np.int64)
    scores = load_scorer(str(card)).score_pairs(ListedTexts([query]), ListedTexts([passage]), one, one)
    vectors = plain_vectors(TINY_MODEL, [f"sort {query}"], 6)[0], plain_vectors(TINY_MODEL, [f"merge {passage}"], 5)[0]
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    assert scores[0] == pytest.approx(cosine, abs=1e-4)


def test_options_go_before_the_card(collection):
    sides = make_sides(collection)
    vectors = {
        text: plain_vectors(TINY_MODEL, [text], length)[0]
        for texts, length in ((sides.queries, 6), (sides.passages, 9))
        for text in texts
    }
    expected = sides.one_by_one(lambda query, passage: float(vectors[query] @ vectors[passage]))
    options = ScoringOptions("cpu", query_max_length=6, max_length=9)
    np.testing.assert_allclose(sides.scored_by(load_scorer(str(TINY_MODEL), options)), expected, atol=1e-3)


def test_reduced_precision_is_close(scorer, collection, monkeypatch):
    monkeypatch.setattr(backends, "cpu_has_bf16", lambda: True)  # where it has not, torch computes the same slowly
    sides = make_sides(collection)
    exact = sides.scored_by(scorer)
    reduced = sides.scored_by(load_scorer(str(TINY_MODEL), ScoringOptions("cpu", "bf16")))
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(reduced, exact, atol=0.02 * np.abs(exact).max())
    assert np.abs(reduced - exact).max() > 1e-3


def test_an_unknown_encoder():
    with pytest.raises(TasbError, match="nosuchcard"):
        load_scorer("tasb:nosuchcard")
