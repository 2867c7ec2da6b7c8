"""Tokenizers are found in old and new folders, and refused where they are not the model's."""

from __future__ import annotations

import json
import shutil

import pytest
from transformers import AutoModel, AutoTokenizer, T5Config, T5EncoderModel

from pyserini_tasb import TasbError, TasbQueryEncoder
from pyserini_tasb.models.tokenizers import load_tokenizer, longest_text, require_vocabulary
from tests.conftest import TINY_MODEL
from tests.models.headed_models import COLBERT_CONFIG, tiny_bert_cat, write_authors_tokenizer

TEXTS = ("Sorting, MERGING and Café", "lists' algorithms: an überlong_word 1979", "[MASK] [SEP]", "")


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(TINY_MODEL, tmp_path / "model")


def test_the_authors_files_give_the_tokens_that_newer_ones_give(tmp_path):
    tokenizer = load_tokenizer(tiny_bert_cat(tmp_path / "cat"))
    newer = AutoTokenizer.from_pretrained(TINY_MODEL)
    assert tokenizer.is_fast
    assert tokenizer.model_max_length == 512
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (0, 4)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == newer(text)["input_ids"]


def test_a_cased_tokenizer_stays_cased(tmp_path):
    folder = tiny_bert_cat(tmp_path / "cat")
    describe(folder, do_lower_case=False)
    assert load_tokenizer(folder).tokenize("SORT sort") == ["[UNK]", "sort"]


def test_without_a_vocabulary(tmp_path):
    """transformers 4 fails; 5 makes a tokenizer for which every word is unknown."""
    (tmp_path / "config.json").write_text(json.dumps(COLBERT_CONFIG))
    write_authors_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(TasbError, match=r"expected: .*vocab\.txt"):
        require_vocabulary(load_tokenizer(tmp_path), AutoModel.from_pretrained(TINY_MODEL), str(tmp_path))


def test_a_broken_tokenizer(model):
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(TasbError, match=r"expected: +the model's tokenizer") as caught:
        load_tokenizer(model)
    assert caught.value.where == str(model)


def test_more_tokens_than_embeddings():
    tokenizer, transformer = AutoTokenizer.from_pretrained(TINY_MODEL), AutoModel.from_pretrained(TINY_MODEL)
    require_vocabulary(tokenizer, transformer, "here")
    tokenizer.add_tokens(["neologism"])
    with pytest.raises(TasbError, match=r"^here[\s\S]*at most 2224 tokens[\s\S]*one of 2225"):
        require_vocabulary(tokenizer, transformer, "here")


def add_a_token(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["neologism"])
    tokenizer.save_pretrained(folder)


def test_encoders_refuse_another_model_s_tokenizer(model, tmp_path):
    add_a_token(model)
    with pytest.raises(TasbError, match=r"2224 tokens[\s\S]*one of 2225") as caught:
        TasbQueryEncoder(f"tasb:{model}")
    assert caught.value.where == str(model)
    with pytest.raises(TasbError, match="one of 2225") as caught:
        TasbQueryEncoder(f"tasb:{TINY_MODEL}", tokenizer_name=str(model))
    assert caught.value.where == str(model)


def describe(folder, **changes):
    """Change tokenizer_config.json; a value of None removes the key."""
    described = json.loads((folder / "tokenizer_config.json").read_text()) | changes
    described = {key: value for key, value in described.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def test_the_longest_text_is_the_tokenizer_s_or_the_transformer_s(model):
    transformer = AutoModel.from_pretrained(TINY_MODEL)
    describe(model, model_max_length=300)
    assert longest_text(load_tokenizer(model), transformer) == 300
    describe(model, model_max_length=None)
    assert longest_text(load_tokenizer(model), transformer) == 512


def test_a_transformer_without_positions_reads_any_length(model):
    transformer = T5EncoderModel(T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    describe(model, model_max_length=None)
    assert longest_text(load_tokenizer(model), transformer) == pytest.approx(10**30)
