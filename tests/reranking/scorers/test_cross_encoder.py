"""Cross-encoders score pairs as plain transformers do, one pair at a time."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
)

from pyserini_tasb import TasbError
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.models import backends
from pyserini_tasb.models.bert_cat import load_bert_cat, new_bert_cat, save_bert_cat
from pyserini_tasb.reranking import transformer_scorers
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from tests.conftest import TINY_MODEL
from tests.models.headed_models import pair_ids, plain_bert_cat_score, plain_tiny_distilbert, random_head, tiny_bert_cat
from tests.models.test_tokenizer import add_a_token
from tests.reranking.scorers.sides import make_sides

TINY_BERT = {
    "vocab_size": 2_224, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def sides(collection):
    return make_sides(collection)


@pytest.fixture(scope="module")
def bert_cat(tmp_path_factory):
    return tiny_bert_cat(tmp_path_factory.mktemp("bert-cat") / "model")


def with_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY_MODEL / name, folder)
    return folder


@pytest.fixture(scope="module", params=[1, 2])
def bert_classifier(tmp_path_factory, request):
    """A transformer with segments."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(request.param)
    BertForSequenceClassification(BertConfig(num_labels=request.param, **TINY_BERT)).save_pretrained(folder)
    return with_tokenizer(folder)


def scorer(folder, **options):
    return load_scorer(str(folder), ScoringOptions("cpu", **options), allow_bin=True)


@pytest.mark.parametrize("max_length", [None, 64, 20, 4])
def test_bert_cat(bert_cat, sides, max_length):
    transformer, head = plain_tiny_distilbert(), random_head(1, 32)
    expected = sides.one_by_one(
        lambda query, passage: plain_bert_cat_score(transformer, head, query, passage, max_length or 512)
    )
    scores = sides.scored_by(scorer(bert_cat, max_length=max_length))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert expected.std() > (0.01 if max_length == 4 else 0.1)


def test_sequence_classifiers_with_segments(bert_classifier, sides):
    model = BertForSequenceClassification.from_pretrained(bert_classifier).eval()

    def score(query, passage, segments=True):
        ids, types = pair_ids(query, passage)
        with torch.no_grad():
            logits = model(ids, token_type_ids=types if segments else None).logits[0].tolist()
        return logits[0] if len(logits) == 1 else logits[1] - logits[0]

    expected = sides.one_by_one(score)
    np.testing.assert_allclose(sides.scored_by(scorer(bert_classifier)), expected, atol=1e-4)
    assert np.abs(sides.one_by_one(lambda *pair: score(*pair, segments=False)) - expected).max() > 0.1


def test_bert_cat_with_segments(tmp_path, sides):
    torch.manual_seed(0)
    BertModel(BertConfig(**TINY_BERT)).save_pretrained(tmp_path)
    folder = with_tokenizer(tmp_path)
    save_bert_cat(folder, new_bert_cat(tmp_path, seed=1))
    model = load_bert_cat(folder)

    def score(query, passage):
        ids, segments = pair_ids(query, passage)
        with torch.no_grad():
            cls = model.transformer(ids, token_type_ids=segments).last_hidden_state[0, 0]
        return (model.head.weight[0] @ cls + model.head.bias[0]).item()

    np.testing.assert_allclose(sides.scored_by(scorer(folder)), sides.one_by_one(score), atol=1e-4)


def test_a_sequence_classifier_without_segments(tmp_path, sides):
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=1).save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(with_tokenizer(tmp_path)).eval()
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)

    def score(query, passage):
        # As lists: of a single pair, the tokenizer takes an empty passage for none.
        tokens = tokenizer([query], [passage], truncation=True, return_token_type_ids=False, return_tensors="pt")
        with torch.no_grad():
            return model(**tokens).logits.item()

    np.testing.assert_allclose(sides.scored_by(scorer(tmp_path)), sides.one_by_one(score), atol=1e-4)


def test_blocks_change_nothing(bert_cat, sides, monkeypatch):
    whole = sides.scored_by(scorer(bert_cat))
    monkeypatch.setattr(transformer_scorers, "PAIRS_AT_ONCE", 7)
    monkeypatch.setitem(transformer_scorers.TOKENS_PER_BATCH, "cpu", 300)
    sizes = []
    divided = scorer(bert_cat)
    divided._model.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape))
    np.testing.assert_allclose(sides.scored_by(divided), whole, atol=1e-5)
    assert len(sizes) > len(sides.query_rows) / 7
    assert all(pairs * tokens <= 300 or pairs == 1 for pairs, tokens in sizes)


def test_no_pairs(bert_cat):
    none = np.empty(0, dtype=np.int64)
    assert scorer(bert_cat).score_pairs(ListedTexts(["q"]), ListedTexts(["p"]), none, none).shape == (0,)


def test_reduced_precision_is_close(bert_cat, bert_classifier, sides, monkeypatch):
    monkeypatch.setattr(backends, "cpu_has_bf16", lambda: True)  # where it has not, torch computes the same slowly
    for folder in (bert_cat, bert_classifier):
        exact, reduced = (sides.scored_by(scorer(folder, precision=kind)) for kind in ("fp32", "bf16"))
        assert reduced.dtype == np.float32
        assert np.corrcoef(exact, reduced)[0, 1] > 0.99
        assert np.abs(exact - reduced).max() > 1e-4


def test_no_gradients_are_kept(bert_cat):
    seen = []
    loaded = scorer(bert_cat)
    loaded._model.register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    one = np.zeros(1, dtype=np.int64)
    loaded.score_pairs(ListedTexts(["q"]), ListedTexts(["p"]), one, one)
    assert seen == [True]


def test_another_model_s_tokenizer(tmp_path, bert_classifier):
    cat, classifier = tiny_bert_cat(tmp_path / "cat"), shutil.copytree(bert_classifier, tmp_path / "classifier")
    with (cat / "vocab.txt").open("a") as vocabulary:
        vocabulary.write("neologism\n")
    add_a_token(classifier)
    for folder in (cat, classifier):
        with pytest.raises(TasbError, match=r"at most 2224 tokens[\s\S]*one of 2225"):
            scorer(folder)


def test_no_room_for_a_token(bert_cat):
    # Below what special tokens take, tokenizers cut nothing at all.
    with pytest.raises(TasbError, match=r"at least 4 tokens[\s\S]*found: +3"):
        scorer(bert_cat, max_length=3)
