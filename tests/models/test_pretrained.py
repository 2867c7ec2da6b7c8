"""Hugging Face's own classes are loaded whole, or not at all."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from pyserini_tasb import TasbError
from pyserini_tasb.models.bert_cat import load_sequence_classifier
from pyserini_tasb.models.bert_dot import load_bert_dot
from pyserini_tasb.models.pretrained import load_pretrained
from tests.conftest import TINY_MODEL
from tests.models.headed_models import pair_ids

IDS, _ = pair_ids("sort lists", "merging of sorted lists")
MASK = torch.ones_like(IDS)


@pytest.fixture(scope="module", params=[1, 2, 3])
def labels(request):
    return request.param


@pytest.fixture
def classifier(tmp_path, labels):
    folder = tmp_path / "classifier"
    torch.manual_seed(labels)
    AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=labels).save_pretrained(folder)
    return folder


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_score_is_the_logit_or_the_difference_of_two(classifier, labels):
    if labels == 3:
        with pytest.raises(TasbError, match=r"found: +3 labels"):
            load_sequence_classifier(classifier)
        return
    with torch.no_grad():
        logits = AutoModelForSequenceClassification.from_pretrained(classifier).eval()(IDS).logits[0]
        expected = logits[0] if labels == 1 else logits[1] - logits[0]
        model = load_sequence_classifier(classifier)
        assert not model.training
        torch.testing.assert_close(model(IDS, MASK), expected[None])


@pytest.mark.parametrize("labels", [2], indirect=True)
def test_a_classifier_without_its_head(classifier):
    change_weights(classifier, lambda weights: weights.pop("classifier.bias"))
    with pytest.raises(TasbError, match=r"1 parameters .* `classifier\.bias`: they would be random"):
        load_sequence_classifier(classifier)


@pytest.mark.parametrize("labels", [2], indirect=True)
def test_a_head_of_another_shape(classifier):
    change_weights(classifier, lambda weights: weights.update({"classifier.bias": torch.zeros(4)}))
    with pytest.raises(TasbError, match=r"`classifier\.bias`: they would be random"):
        load_sequence_classifier(classifier)


@pytest.fixture
def encoder(tmp_path):
    return shutil.copytree(TINY_MODEL, tmp_path / "encoder")


def test_a_bi_encoder_s_weights_of_another_shape(encoder):
    change_weights(encoder, lambda weights: weights.update({"embeddings.LayerNorm.bias": torch.zeros(31)}))
    with pytest.raises(TasbError, match=r"`embeddings\.LayerNorm\.bias`: they would be random"):
        load_bert_dot(encoder)


def test_weights_that_were_only_named(encoder):
    (encoder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(TasbError, match="git lfs pull"):
        load_bert_dot(encoder)


def test_a_pickle_needs_the_users_word_also_where_it_lies_alone(encoder):
    weights = load_file(encoder / "model.safetensors")
    (encoder / "model.safetensors").unlink()
    torch.save(weights, encoder / "pytorch_model.bin")
    with pytest.raises(TasbError, match=r"model\.safetensors"):
        load_bert_dot(encoder)
    assert not load_bert_dot(encoder, allow_bin=True).training
    with torch.no_grad():
        assert torch.equal(load_bert_dot(encoder, allow_bin=True)(IDS, MASK), load_bert_dot(TINY_MODEL)(IDS, MASK))


def test_no_bar_about_weights_and_the_user_s_setting_is_kept(capfd):
    from transformers.utils import logging

    for enabled in (True, False):
        (logging.enable_progress_bar if enabled else logging.disable_progress_bar)()
        load_pretrained(AutoModel, TINY_MODEL, torch.float32, allow_bin=False)
        assert logging.is_progress_bar_enabled() == enabled
    logging.enable_progress_bar()
    assert "weights" not in capfd.readouterr().err
