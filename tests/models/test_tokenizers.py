"""The tokenizer of tokenizer.json alone gives the tokens of transformers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.models.tokenizers import FileTokenizer, HuggingFaceTokenizer
from tests.conftest import TINY_MODEL

TEXTS = ["", "a sort", "Ünïcödé  and\ttabs\n", "[SEP] merge [MASK]", "🤗 日本語", "sort " * 3000]


@pytest.fixture(scope="module")
def both():
    return FileTokenizer(TINY_MODEL, 0), HuggingFaceTokenizer(str(TINY_MODEL))


@pytest.mark.parametrize("most", [4, 40, 512])
def test_same_tokens(both, collection, most):
    texts = [*TEXTS, *collection.texts]
    own, other = (tokenizer.token_ids(texts, None, most) for tokenizer in both)
    assert own == other
    assert max(map(len, own)) == most


@pytest.mark.parametrize("most", [5, 40])
def test_same_tokens_of_pairs(both, collection, most):
    own, other = (tokenizer.token_ids(collection.titles, collection.texts, most) for tokenizer in both)
    assert own == other


def test_same_limits(both):
    own, other = both
    assert (own.longest, own.pad_id) == (other.longest, other.pad_id)
    assert own.hugging_face("a sort")["input_ids"] == other.hugging_face("a sort")["input_ids"]


def test_threads_share_a_tokenizer(both, collection):
    # The tokenizer keeps its truncation between calls, and every call here asks for another.
    texts, caps = [collection.texts[-1]] * 20, [5 + number % 7 for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda cap: both[0].token_ids(texts, None, cap), caps))
    assert [{len(ids) for ids in answer} for answer in answers] == [{cap} for cap in caps]


def test_damaged_and_absent_files(tmp_path):
    with pytest.raises(TasbError, match=r"tokenizer\.json"):
        FileTokenizer(tmp_path, 0)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(TasbError, match="expected: a tokenizer"):
        FileTokenizer(tmp_path, 0)
