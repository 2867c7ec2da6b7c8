"""monoT5 scores pairs as plain transformers do, one prompt at a time."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyserini_tasb import TasbDocumentEncoder, TasbError
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.models import backends
from pyserini_tasb.reranking import t5_scorers
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from tests.reranking.scorers.sides import make_sides
from tests.reranking.scorers.tiny_t5 import MONO, PlainT5, make_t5


@pytest.fixture(scope="module")
def sides(collection):
    return make_sides(collection)


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5") / "safe", pickled=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5") / "monot5-tiny")


def scorer(folder, **options):
    return load_scorer(str(folder), ScoringOptions("cpu", **options), allow_bin=True)


def one_score(scorer, query, passage):
    one = np.zeros(1, dtype=np.int64)
    return float(scorer.score_pairs(ListedTexts([query]), ListedTexts([passage]), one, one)[0])


def expected_of(folder, sides, answers=("false", "true"), max_length=512):
    plain = PlainT5(folder, answers)
    end = plain.tokenizer("Relevant:")["input_ids"]

    def score(query, passage):
        if len(plain.tokenizer(f"Query: {query} Document: Relevant:")["input_ids"]) > max_length / 2:
            return np.nan  # of such a query, too, tokens may be lost: test_prompt.py
        ids = plain.tokenizer(MONO.format(query, passage))["input_ids"]
        if len(ids) > max_length:
            ids = ids[: max_length - len(end)] + end
        return plain.of_ids(ids)[1]

    return sides.one_by_one(score)


def assert_scores(found, expected, least_spread=0.5):
    known = np.isfinite(expected)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert known.sum() > len(found) / 2
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-4, atol=1e-4)
    assert expected[known].std() > least_spread


@pytest.mark.parametrize("max_length", [None, 250])
def test_scores(folder, sides, max_length):
    found = sides.scored_by(scorer(folder, max_length=max_length))
    assert_scores(found, expected_of(folder, sides, max_length=max_length or 512))


def test_more_than_512_tokens(folder):
    """Positions are relative: there is no longest text."""
    plain, query, passage = PlainT5(folder), "lists", "sort merge list " * 45
    ids = plain.tokenizer(MONO.format(query, passage))["input_ids"]
    assert 512 < len(ids) < 800
    found = one_score(scorer(folder, max_length=800), query, passage)
    assert found == pytest.approx(plain.of_ids(ids)[1], rel=1e-4)
    assert one_score(scorer(folder), query, passage) != pytest.approx(found, rel=1e-2)


def test_other_answers(folder, sides):
    assert_scores(
        sides.scored_by(scorer(folder, answers=["no", "yes"])), expected_of(folder, sides, ("no", "yes")), 0.1
    )


def test_answers_that_the_name_tells(tmp_path, sides):
    portuguese = make_t5(tmp_path / "mt5-base-mmarco-v2")
    assert_scores(sides.scored_by(scorer(portuguese)), expected_of(portuguese, sides, ("no", "yes")), 0.1)


def test_an_answer_that_is_no_token(folder):
    remedy = r"the two words that this model answers with: answers=\('FALSE', 'TRUE'\)"
    with pytest.raises(TasbError, match=rf"the token `▁maybe`(?s:.*){remedy}"):
        scorer(folder, answers=["no", "maybe"])


def test_safetensors(safe, folder, sides):
    assert not (safe / "pytorch_model.bin").exists()
    found = load_scorer(str(safe), ScoringOptions("cpu"))
    np.testing.assert_allclose(sides.scored_by(found), sides.scored_by(scorer(folder)), rtol=1e-6)


def test_a_pickle_is_refused_unless_allowed(folder):
    with pytest.raises(TasbError, match=r"pytorch_model\.bin, which is a pickle(?s:.*)--allow-bin"):
        load_scorer(str(folder), ScoringOptions("cpu"))


def test_weights_that_are_missing(tmp_path, safe):
    broken = shutil.copytree(safe, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.startswith("decoder.block.1"))
    del weights[name]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TasbError, match=r"1 parameters without weights of their shape, such as `decoder\.block\.1"):
        scorer(broken)


def test_a_larger_vocabulary_than_the_model_has(tmp_path, safe):
    broken = shutil.copytree(safe, tmp_path / "broken")
    config = json.loads((broken / "tokenizer_config.json").read_text())
    (broken / "tokenizer_config.json").write_text(json.dumps(config | {"extra_ids": 100}))
    with pytest.raises(TasbError, match="at most 620 tokens"):
        scorer(broken)


def test_what_is_surely_relevant_stays_apart(folder, monkeypatch):
    """In fp32, log-softmax gives 0 for all of them."""
    mono = scorer(folder)
    monkeypatch.setattr(mono._model, "log_odds", lambda _, _progress: np.array([20, 30, 40], dtype=np.float32))
    rows = np.arange(3)
    found = mono.score_pairs(ListedTexts(["q"]), ListedTexts(["a", "b", "c"]), np.zeros_like(rows), rows)
    np.testing.assert_allclose(found, -np.exp([-20.0, -30.0, -40.0]), rtol=1e-6)


def test_blocks_change_nothing(folder, sides, monkeypatch):
    whole = sides.scored_by(scorer(folder))
    monkeypatch.setattr("pyserini_tasb.reranking.t5_scorers.PROMPTS_AT_ONCE", 7)
    monkeypatch.setitem(t5_scorers.TOKENS_PER_BATCH, "cpu", 300)
    divided, sizes = scorer(folder), []
    divided._model._model.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape))
    np.testing.assert_allclose(sides.scored_by(divided), whole, rtol=1e-4, atol=1e-4)
    assert len(sizes) > len(sides.query_rows) / 7
    assert all(pairs * tokens <= 300 or pairs == 1 for pairs, tokens in sizes)


def test_one_step_of_the_decoder_without_gradients(folder):
    seen, mono = [], scorer(folder)
    mono._model._model.transformer.decoder.register_forward_hook(
        lambda _, __, output: seen.append((output.last_hidden_state.shape[1], torch.is_inference_mode_enabled()))
    )
    one_score(mono, "q", "p")
    assert seen == [(1, True)]


def test_no_pairs(folder):
    none = np.empty(0, dtype=np.int64)
    assert scorer(folder).score_pairs(ListedTexts(["q"]), ListedTexts(["p"]), none, none).shape == (0,)


def test_reduced_precision_is_close(folder, sides, monkeypatch):
    monkeypatch.setattr(backends, "cpu_has_bf16", lambda: True)  # where it has not, torch computes the same slowly
    exact, reduced = (sides.scored_by(scorer(folder, precision=kind)) for kind in ("fp32", "bf16"))
    assert reduced.dtype == np.float32
    assert np.corrcoef(exact, reduced)[0, 1] > 0.9
    assert np.abs(exact - reduced).max() > 1e-3


def test_a_duo_t5_does_not_read_single_passages(tmp_path):
    with pytest.raises(TasbError, match=r"found: +a duoT5(?s:.*)--pairwise sym-sum"):
        scorer(make_t5(tmp_path / "duot5-base-msmarco"))


def test_it_makes_no_vectors(safe):
    with pytest.raises(TasbError, match="a model of the kind `seq2seq`"):
        TasbDocumentEncoder(f"tasb:{safe}")
