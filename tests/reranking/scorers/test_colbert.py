"""A ColBERT scores pairs as a loop over tokens does, one pair at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pyserini_tasb import TasbError
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.models import backends
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from pyserini_tasb.reranking import transformer_scorers
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from tests.conftest import TINY_MODEL
from tests.models.headed_models import plain_colbert_score, plain_tiny_distilbert, random_head, tiny_colbert
from tests.reranking.scorers.sides import make_sides
from tests.reranking.scorers.test_cross_encoder import with_tokenizer
from tests.training_data.test_false_negatives import CountingTexts


@pytest.fixture(scope="module")
def sides(collection):
    return make_sides(collection)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_colbert(tmp_path_factory.mktemp("colbert") / "model")


@pytest.fixture(scope="module")
def expected(sides):
    transformer, head = plain_tiny_distilbert(2), random_head(16, 32)
    return sides.one_by_one(lambda query, passage: plain_colbert_score(transformer, head, query, passage))


def scorer(folder, **options):
    return load_scorer(str(folder), ScoringOptions("cpu", **options), allow_bin=True)


def test_scores_are_those_of_a_loop_over_tokens(folder, sides, expected):
    scores = sides.scored_by(scorer(folder))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert expected.std() > 1


def test_other_lengths(folder, sides):
    transformer, head = plain_tiny_distilbert(2), random_head(16, 32)
    scores = sides.scored_by(scorer(folder, query_max_length=5, max_length=7))
    expected = sides.one_by_one(lambda query, passage: plain_colbert_score(transformer, head, query, passage, 5, 7))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_lengths_beyond_the_model_s_are_the_model_s(folder, sides):
    transformer, head = plain_tiny_distilbert(2), random_head(16, 32)
    query, passage = "what " * 600, "sort " * 600
    one = np.zeros(1, dtype=np.int64)
    loaded = scorer(folder, query_max_length=1_000, max_length=1_000)
    score = loaded.score_pairs(ListedTexts([query]), ListedTexts([passage]), one, one)
    # The [MASK] tokens need positions as well.
    assert score[0] == pytest.approx(plain_colbert_score(transformer, head, query, passage, 512 - 8, 512), rel=1e-5)


def test_blocks_change_nothing(folder, sides, expected, monkeypatch):
    monkeypatch.setattr(transformer_scorers, "PASSAGES_AT_ONCE", 3)
    monkeypatch.setattr(transformer_scorers, "QUERIES_AT_ONCE", 2)
    monkeypatch.setattr(transformer_scorers, "PRODUCTS_AT_ONCE", 2)
    monkeypatch.setitem(transformer_scorers.TOKENS_PER_BATCH, "cpu", 100)
    np.testing.assert_allclose(sides.scored_by(scorer(folder)), expected, rtol=1e-5)


def test_each_passage_is_encoded_once_and_a_query_once_for_each_block_of_passages(folder, sides, monkeypatch):
    monkeypatch.setattr(transformer_scorers, "PASSAGES_AT_ONCE", 4)
    monkeypatch.setattr(transformer_scorers, "QUERIES_AT_ONCE", 2)
    queries, passages = CountingTexts(sides.queries), CountingTexts(sides.passages)
    scorer(folder).score_pairs(queries, passages, sides.query_rows, sides.passage_rows)
    occurring = sorted(set(sides.passage_rows.tolist()))
    assert sorted(passages.read) == occurring
    blocks = [set(occurring[:4]), set(occurring[4:])]
    pairs = list(zip(sides.query_rows.tolist(), sides.passage_rows.tolist(), strict=True))
    assert sorted(queries.read) == sorted(query for block in blocks for query in {q for q, p in pairs if p in block})


def test_no_pairs(folder):
    none = np.empty(0, dtype=np.int64)
    assert scorer(folder).score_pairs(ListedTexts(["q"]), ListedTexts(["p"]), none, none).shape == (0,)


def test_reduced_precision_is_close(folder, sides, expected, monkeypatch):
    monkeypatch.setattr(backends, "cpu_has_bf16", lambda: True)  # where it has not, torch computes the same slowly
    loaded = scorer(folder, precision="bf16")
    scores = sides.scored_by(loaded)
    assert scores.dtype == loaded.vectors([[2, 3]])[0].numpy().dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0.03)
    assert np.abs(scores / expected - 1).max() > 1e-4


def test_no_gradients_are_kept(folder):
    assert scorer(folder).vectors([[2, 3]])[0].is_inference()


def test_one_of_ours_has_as_many_masks_as_its_config_says(tmp_path, sides):
    model = new_colbert(TINY_MODEL, dimension=16, query_masks=0, seed=0)
    save_colbert(tmp_path, model)
    loaded = scorer(with_tokenizer(tmp_path))
    one = np.zeros(1, dtype=np.int64)
    score = loaded.score_pairs(ListedTexts(["sort"]), ListedTexts(["merge"]), one, one)
    ids = loaded.tokenizer(["sort", "merge"])["input_ids"]
    with torch.no_grad():
        vectors = [model.eval()(torch.tensor([text]), torch.ones(1, len(text)))[0] for text in ids]
    assert score[0] == pytest.approx((vectors[0] @ vectors[1].T).max(dim=1).values.sum().item(), rel=1e-5)


def test_another_model_s_tokenizer(tmp_path):
    folder = tiny_colbert(tmp_path / "model")
    with (folder / "vocab.txt").open("a") as vocabulary:
        vocabulary.write("neologism\n")
    with pytest.raises(TasbError, match=r"at most 2224 tokens[\s\S]*one of 2225"):
        scorer(folder)


def test_a_tokenizer_without_a_mask_token(tmp_path):
    save_colbert(tmp_path, new_colbert(TINY_MODEL, dimension=16, seed=0))
    with_tokenizer(tmp_path)
    described = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"mask_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(described))
    with pytest.raises(TasbError, match="mask token, because every query gets 8"):
        scorer(tmp_path)
