"""Token ids are those of the model's own tokenizer, whatever its files are set up to do."""

from __future__ import annotations

import shutil

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pyserini_tasb.models.tokenizers import open_prefixed_tokenizer
from tests.conftest import TINY_MODEL


@pytest.fixture
def folder(tmp_path):
    """Files that ask for padding and for another cap, as those of sentence-transformers' models do."""
    shutil.copytree(TINY_MODEL, tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(TINY_MODEL / "tokenizer.json"))
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(6)
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    return tmp_path / "model"


@pytest.mark.parametrize("cap", [3, 9, 10_000])
@pytest.mark.parametrize("side", ["left", "right"])
def test_as_the_models_own(folder, collection, cap, side):
    own = AutoTokenizer.from_pretrained(folder)
    own.truncation_side = side
    own.save_pretrained(folder)
    texts = ["", "\u00fcber \u4e2d\u6587 \U0001f600", *collection.texts[:20]]
    cut = min(cap, own.model_max_length)
    expected = own(["p: " + text for text in texts], truncation=True, max_length=cut, padding=False)["input_ids"]
    found = open_prefixed_tokenizer(folder, prefix="p: ", max_length=cap)(texts)
    assert found == expected
    assert max(map(len, found)) <= cap
    assert len(set(map(len, found))) > 1 or cap == 3
