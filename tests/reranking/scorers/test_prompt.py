"""Prompts: the tokens of the whole text, and what is cut of one that is too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb import TasbError
from pyserini_tasb.models.t5 import Prompt, shares
from tests.reranking.scorers.tiny_t5 import DUO, MONO, make_t5

MONO_WORDS = ("Query:", "Document:", "Relevant:")
DUO_WORDS = ("Query:", "Document0:", "Document1:", "Relevant:")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(make_t5(tmp_path_factory.mktemp("t5") / "model"))


@pytest.mark.parametrize(
    "texts",
    [
        ("what is a list", "A list of programs, sorted.", "merge"),
        ("  spaces  at\tboth ends ", "a\nnew line", " "),
        ("ﬁne Ⅳ ½", "naïve café", "日本"),
        ("Query: Document: Relevant:", "true", "false"),
    ],
)
def test_the_tokens_are_those_of_the_whole_text(tokenizer, texts):
    for template, words, these in ((MONO, MONO_WORDS, texts[:2]), (DUO, DUO_WORDS, texts)):
        prompt = Prompt(tokenizer, words, 512, "here")
        assert prompt.around(*prompt.tokenise(these)) == tokenizer(template.format(*these))["input_ids"]


def test_what_is_cut_is_the_end_of_the_document(tokenizer):
    whole, cut = (Prompt(tokenizer, MONO_WORDS, length, "here") for length in (512, 60))
    query, document = whole.tokenise(["what is a list", "programs that sort lists " * 9])
    ids = whole.around(query, document)
    assert len(ids) > 60
    after = tokenizer("Relevant:")["input_ids"]  # and the end of the sequence
    assert ids[-len(after) :] == after
    assert cut.around(query, document) == ids[: 60 - len(after)] + after


def test_two_documents_are_cut_to_the_same_length(tokenizer):
    prompt = Prompt(tokenizer, DUO_WORDS, 80, "here")
    query, *documents = prompt.tokenise(["lists", "a " * 200, "b " * 100])
    ids = prompt.around(query, *documents)
    assert len(ids) == 80
    counts = [sum(token in set(document) for token in ids) for document in documents]
    assert abs(counts[0] - counts[1]) <= 2  # the spaces before words are tokens of their own, of both
    assert ids[-len(tokenizer("Relevant:")["input_ids"]) :] == tokenizer("Relevant:")["input_ids"]


def test_no_room(tokenizer):
    fixed = len(tokenizer("Query: Document: Relevant:")["input_ids"])
    with pytest.raises(TasbError, match=rf"at least {fixed + 2} tokens(?s:.*)takes {fixed}\n(?s:.*)raise max_length="):
        Prompt(tokenizer, MONO_WORDS, fixed + 1, "here")
    assert Prompt(tokenizer, MONO_WORDS, fixed + 2, "here")


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(0, 100))
def test_shares(lengths, room):
    kept = shares(lengths, room)
    assert sum(kept) == min(room, sum(lengths))
    assert all(tokens <= length for tokens, length in zip(kept, lengths, strict=True))
    cut = [tokens for tokens, length in zip(kept, lengths, strict=True) if tokens < length]
    if cut:
        assert max(kept) <= min(cut) + 1
