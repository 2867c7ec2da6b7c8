"""BERT_CAT and ColBERT folders that are not whole are refused, and what is wrong is said."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pyserini_tasb import TasbError
from pyserini_tasb.models.bert_cat import load_bert_cat, new_bert_cat, save_bert_cat
from pyserini_tasb.models.colbert import load_colbert, new_colbert, save_colbert
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from tests.conftest import TINY_MODEL
from tests.models.headed_models import tiny_bert_cat
from tests.models.test_headed_checkpoint import save_new


@pytest.fixture
def saved(tmp_path):
    return save_new(tmp_path / "cat", new_bert_cat(TINY_MODEL, seed=0), save_bert_cat)


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_missing_weights(saved):
    change_weights(saved, lambda weights: weights.pop("bert_model.embeddings.LayerNorm.weight"))
    with pytest.raises(TasbError, match=r"no weights for `bert_model\.embeddings\.LayerNorm\.weight`\n") as caught:
        load_bert_cat(saved)
    assert caught.value.where == str(saved)


def test_a_missing_head(saved):
    change_weights(saved, lambda weights: weights.pop("_classification_layer.bias"))
    with pytest.raises(TasbError, match=r"no weights for `_classification_layer\.bias`"):
        load_bert_cat(saved)


def test_weights_of_another_shape(saved):
    change_weights(saved, lambda weights: weights.update({"_classification_layer.weight": torch.zeros(2, 32)}))
    with pytest.raises(TasbError, match=r"`_classification_layer\.weight` of shape \[2, 32\], not \[1, 32\]"):
        load_bert_cat(saved)


def test_weights_that_nothing_takes(saved):
    change_weights(saved, lambda weights: weights.update({f"other.{n}": torch.zeros(1) for n in range(5)}))
    with pytest.raises(TasbError, match=r"nothing takes `other\.0`; .*; and 2 more"):
        load_bert_cat(saved)


def test_broken_weights(saved):
    (saved / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(TasbError, match="git lfs pull"):
        load_bert_cat(saved)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"state": {"a": torch.zeros(2)}}])
def test_a_pickle_of_something_else(tmp_path, content):
    folder = tiny_bert_cat(tmp_path / "cat")
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(TasbError, match="no tensors by name"):
        load_bert_cat(folder)


def test_an_empty_pickle(tmp_path):
    folder = tiny_bert_cat(tmp_path / "cat")
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(TasbError, match=str(folder)):
        load_bert_cat(folder)


def test_weights_in_several_files(saved):
    (saved / "model.safetensors").rename(saved / "model-00001-of-00002.safetensors")
    (saved / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(TasbError, match="in several files"):
        load_bert_cat(saved)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_config_that_is_none(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(TasbError, match="an object in JSON"):
        load_bert_cat(saved)


def test_a_transformer_of_a_kind_that_nobody_knows(saved):
    (saved / "config.json").write_text(json.dumps({"architectures": ["BERT_Cat"], "model_type": "nosuchbert"}))
    with pytest.raises(TasbError, match="nosuchbert"):
        load_bert_cat(saved)


@pytest.mark.parametrize("key", ["compression_dim", "query_masks"])
@pytest.mark.parametrize("value", [None, "many", 1.5, -1, 10**30])
def test_a_colbert_s_config_says_sizes(tmp_path, key, value):
    folder = save_new(tmp_path / "colbert", new_colbert(TINY_MODEL, dimension=4, seed=0), save_colbert)
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )
    with pytest.raises(TasbError, match=f"`{key}` of a ColBERT"):
        load_colbert(folder)


def test_a_start_without_weights_of_its_own_is_refused(saved):
    # A BERT_CAT names its transformer's weights otherwise: Hugging Face's class would find none, and must not try.
    with pytest.raises(TasbError, match="does not recognize"):
        new_bert_cat(saved, seed=0)


@pytest.mark.parametrize("kind", [["bert"], {}, 5])
def test_a_kind_of_model_that_is_no_name(saved, kind):
    config = json.loads((saved / "config.json").read_text()) | {"model_type": kind}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(TasbError, match="a name as `model_type`"):
        load_scorer(str(saved), ScoringOptions("cpu"))
