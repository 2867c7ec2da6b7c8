"""config.json says what a folder holds; what is of another kind is refused where it cannot be used."""

from __future__ import annotations

import json
import shutil

import pytest

from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder
from pyserini_tasb.models.bert_cat import new_bert_cat, save_bert_cat
from pyserini_tasb.models.checkpoints import kind_of
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from tests.conftest import TINY_MODEL
from tests.models.headed_models import BERT_CAT_CONFIG, COLBERT_CONFIG


def config_in(folder, config):
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BERT_CAT_CONFIG, "bert-cat"),
        (COLBERT_CONFIG, "colbert"),
        ({"architectures": ["BertForSequenceClassification"]}, "sequence-classifier"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "seq2seq"),
        ({"architectures": ["MT5ForConditionalGeneration"]}, "seq2seq"),
        ({"architectures": ["DistilBertModel"]}, "bert-dot"),
        ({"architectures": ["DistilBertForMaskedLM"]}, "bert-dot"),  # what training starts from
        ({"architectures": []}, "bert-dot"),
        ({"architectures": None}, "bert-dot"),
        ({}, "bert-dot"),
    ],
)
def test_kinds(tmp_path, config, kind):
    assert kind_of(config_in(tmp_path, config)) == kind


@pytest.mark.parametrize(
    "architecture",
    [
        "LlamaForCausalLM", "GPT2LMHeadModel", "BartForConditionalGeneration", "BertForQuestionAnswering",
        "BertForTokenClassification", "RobertaForMultipleChoice", "BertForNextSentencePrediction", "HF_ColBERT",
    ],
)  # fmt: skip
def test_models_that_score_nothing(tmp_path, architecture):
    with pytest.raises(TasbError, match=f"found: +{architecture}"):
        kind_of(config_in(tmp_path, {"architectures": [architecture]}))


@pytest.fixture(params=["bert-cat", "colbert", "sequence-classifier"])
def scorer_folder(tmp_path, request):
    """A whole model of each kind that is no bi-encoder, with the tiny model's tokenizer."""
    from transformers import AutoModelForSequenceClassification

    folder = shutil.copytree(TINY_MODEL, tmp_path / request.param)
    if request.param == "bert-cat":
        save_bert_cat(folder, new_bert_cat(TINY_MODEL, seed=0))
    elif request.param == "colbert":
        save_colbert(folder, new_colbert(TINY_MODEL, dimension=8, seed=0))
    else:
        AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=1).save_pretrained(folder)
    return folder


def test_what_scores_pairs_does_not_encode(scorer_folder):
    for encoder in (TasbQueryEncoder, TasbDocumentEncoder):
        with pytest.raises(TasbError, match=f"a model of the kind `{scorer_folder.name}`") as caught:
            encoder(f"tasb:{scorer_folder}")
        assert caught.value.where == str(scorer_folder / "config.json")


def test_the_authors_folders_do_not_encode(tmp_path):
    # transformers does not know their model_type, and would say no more than that.
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(TasbError, match="a model of the kind `colbert`"):
        TasbQueryEncoder(f"tasb:{config_in(tmp_path, COLBERT_CONFIG)}")
