"""A model's name leads to its scorer; what scores nothing is refused."""

from __future__ import annotations

import json
import shutil

import pytest
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2LMHeadModel

from pyserini_tasb import TasbError
from pyserini_tasb.reranking.scorers import BiEncoderScorer, ScoringOptions, load_scorer
from pyserini_tasb.reranking.transformer_scorers import ColBertScorer, CrossEncoderScorer
from tests.conftest import TINY_MODEL
from tests.models.headed_models import tiny_bert_cat, tiny_colbert
from tests.reranking.scorers.test_cross_encoder import with_tokenizer

CPU = ScoringOptions("cpu")


@pytest.mark.parametrize(("make", "scorer"), [(tiny_bert_cat, CrossEncoderScorer), (tiny_colbert, ColBertScorer)])
def test_folders_with_heads(tmp_path, make, scorer):
    assert isinstance(load_scorer(str(make(tmp_path / "model")), CPU, allow_bin=True), scorer)


def test_a_bi_encoder_s_folder():
    assert isinstance(load_scorer(str(TINY_MODEL), CPU), BiEncoderScorer)


def test_a_card_may_name_a_model_with_a_head_and_allow_its_pickle(tmp_path):
    tiny_colbert(tmp_path / "model")
    (tmp_path / "card.yaml").write_text("name: mine\nmodel: ./model\nallow_bin: true\n")
    assert isinstance(load_scorer(str(tmp_path / "card.yaml"), CPU), ColBertScorer)


def test_a_causal_language_model(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(TasbError, match=r"found: +GPT2LMHeadModel"):
        load_scorer(str(tmp_path), CPU)


def test_three_labels(tmp_path):
    AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(TasbError, match=r"found: +3 labels"):
        load_scorer(str(with_tokenizer(tmp_path)), CPU)


def test_a_config_of_another_kind_than_the_weights(tmp_path):
    folder = shutil.copytree(TINY_MODEL, tmp_path / "model")
    for architecture in ("BERT_Cat", "DistilBertForSequenceClassification"):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
        with pytest.raises(TasbError, match=r"no weights for|without weights"):
            load_scorer(str(folder), CPU)


def test_an_unknown_model():
    with pytest.raises(TasbError, match="nosuchcard"):
        load_scorer("tasb:nosuchcard")


@pytest.mark.parametrize("length", [-1, 0, 2])
def test_lengths_without_room_for_a_word(length):
    # 0 is no length that was left out.
    with pytest.raises(TasbError, match=f"max_length= of at least 3[\\s\\S]*{length}"):
        ScoringOptions(max_length=length)
    with pytest.raises(TasbError, match="query_max_length= of at least 3"):
        ScoringOptions(query_max_length=length)


def test_a_device_is_found_where_none_is_named():
    import torch

    assert ScoringOptions().found_device == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert ScoringOptions("cpu").found_device == "cpu"


def test_answers_of_a_model_that_answers_nothing():
    with pytest.raises(TasbError, match=r"answers=\n +found: +a model of the kind `bert-dot`"):
        load_scorer(str(TINY_MODEL), ScoringOptions("cpu", answers=["no", "yes"]))
