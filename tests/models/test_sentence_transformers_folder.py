"""sentence-transformers reads our folders as we do; and a folder of theirs that we read otherwise is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder
from pyserini_tasb.models import backends
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.sentence_transformers_folder import (
    contradiction,
    make_tokenizer_plain,
    write_sentence_transformers_files,
)
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.recipes.types import EncoderCard
from tests.conftest import DIMENSION, TINY_MODEL
from tests.models.causal_models import causal_model

PREFIXES = {"query_prefix": "sort: ", "passage_prefix": "  lists "}  # a space more than one: put there as it stands
CARDS = {
    "as TAS-B": {},
    "mean, normalised, prefixes": {"pooling": "mean", "normalise": True, **PREFIXES},
    "short passages": {"passage_max_length": 9, "query_max_length": 9},
    "last": {"pooling": "last"},
    "gpt2": {"pooling": "last", "passage_prefix": "sort "},
    "llama": {"pooling": "last", "normalise": True},
}


@pytest.fixture(params=CARDS)
def card(request, tmp_path):
    folder = tmp_path / "model"
    if request.param in {"gpt2", "llama"}:
        causal_model(folder, request.param)
    else:
        shutil.copytree(TINY_MODEL, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    make_tokenizer_plain(tokenizer)
    tokenizer.save_pretrained(folder)
    card = EncoderCard(name="mine", model=str(folder), **CARDS[request.param])
    longest = 64 if request.param in {"gpt2", "llama"} else 512
    write_sentence_transformers_files(folder, card, dimension=DIMENSION, longest=longest)
    return card


def plain_vectors(card, texts, max_length):
    """By hand, one text after the other."""
    tokenizer, model = AutoTokenizer.from_pretrained(card.model), AutoModel.from_pretrained(card.model).eval()
    vectors = []
    for text in texts:
        with torch.no_grad():
            ids = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")["input_ids"]
            tokens = model(ids)[0][0]
        vector = {"cls": tokens[0], "mean": tokens.mean(dim=0), "last": tokens[-1]}[card.pooling]
        vectors.append(vector / vector.norm() if card.normalise else vector)
    return torch.stack(vectors).numpy()


def test_the_same_vectors_and_the_same_order(card, collection):
    passages, queries = collection.texts[:30], list(collection.topics.values())
    theirs = SentenceTransformer(card.model, device="cpu")
    cap = {"gpt2": 64, "llama": 64}.get(theirs[0].auto_model.config.model_type, 512)
    assert theirs.max_seq_length == min(cap, card.passage_max_length)
    written = Path(card.model).with_suffix(".yaml")
    written.write_text(yaml.safe_dump(card.model_dump(mode="json", exclude_defaults=True)))
    ours = (
        TasbDocumentEncoder(str(written), device="cpu").encode(passages),
        TasbQueryEncoder(str(written)).encode_batch(queries),
    )
    vectors = theirs.encode_document(passages), theirs.encode_query(queries)
    plain = (
        plain_vectors(card, [card.passage_prefix + text for text in passages], theirs.max_seq_length),
        plain_vectors(card, [card.query_prefix + text for text in queries], theirs.max_seq_length),
    )
    for found, expected, own in zip(vectors, plain, ours, strict=True):
        lengths = np.linalg.norm(own, axis=1, keepdims=True)
        for other in (expected, own):
            np.testing.assert_allclose(found / lengths, other / lengths, rtol=0, atol=1e-6)
    scores = theirs.similarity(vectors[1], vectors[0]).numpy()
    np.testing.assert_allclose(scores, ours[1] @ ours[0].T, rtol=1e-5, atol=1e-4)


def write_theirs(folder, pooling, *, normalise=False, paths="sentence_transformers.models.", modules=(), **settings):
    """A folder as sentence-transformers saves it, over the tiny model."""
    shutil.copytree(TINY_MODEL, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": DIMENSION} | pooling))
    names = ["Transformer", "Pooling", *(["Normalize"] if normalise else []), *modules]
    listed = [
        {"idx": idx, "name": str(idx), "path": "" if not idx else f"{idx}_{name}", "type": f"{paths}{name}"}
        for idx, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


OLD_CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
OLD_MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "include_prompt": True}
NEW_PATHS = "sentence_transformers.sentence_transformer.modules.pooling."  # of version 6; what counts is the end


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"pooling": OLD_CLS}, []),  # as sentence-transformers/msmarco-distilbert-base-tas-b
        ({"pooling": OLD_CLS, "similarity_fn_name": "dot", "prompts": {"query": "", "document": ""}}, []),
        ({"pooling": OLD_MEAN}, ['pooling: "mean"']),
        ({"pooling": {"pooling_mode": "mean"}, "paths": NEW_PATHS}, ['pooling: "mean"']),
        ({"pooling": {"pooling_mode": ["lasttoken"]}, "paths": NEW_PATHS}, ['pooling: "last"']),
        ({"pooling": {"pooling_mode": "cls"}, "paths": NEW_PATHS}, []),
        ({"pooling": {"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}}, ["max_tokens"]),
        ({"pooling": OLD_MEAN, "normalise": True}, ['pooling: "mean"', "normalise: true"]),
        ({"pooling": OLD_CLS, "similarity_fn_name": "cosine"}, ["normalise: true"]),
        ({"pooling": OLD_CLS, "prompts": {"query": "query: ", "passage": "passage: "}},
         ['query_prefix: "query: "', 'passage_prefix: "passage: "']),
        ({"pooling": OLD_CLS, "modules": ["Dense"]}, ["a module Dense"]),
    ],
)  # fmt: skip
def test_a_folder_that_was_made_for_other_vectors(tmp_path, caplog, monkeypatch, theirs, said):
    monkeypatch.setattr(backends, "_logged", set())
    folder = write_theirs(tmp_path / "theirs", **theirs)
    TasbQueryEncoder(f"tasb:{folder}")
    printed = caplog.text
    assert ("was made for other vectors" in printed) == bool(said)
    for part in said:
        assert part in printed
    caplog.clear()
    TasbQueryEncoder(f"tasb:{folder}")
    assert "was made" not in caplog.text  # once


def test_a_card_that_says_it_wins(tmp_path):
    folder = write_theirs(tmp_path / "theirs", OLD_MEAN, normalise=True)
    (tmp_path / "card.yaml").write_text("name: card\nmodel: ./theirs\npooling: cls\n")
    assert "normalise: true" in contradiction(encoder_card(str(tmp_path / "card.yaml")), folder)
    assert "pooling: " not in contradiction(encoder_card(str(tmp_path / "card.yaml")), folder)
    (tmp_path / "card.yaml").write_text("name: card\nmodel: ./theirs\npooling: cls\nnormalise: false\n")
    assert not contradiction(encoder_card(str(tmp_path / "card.yaml")), folder)


def test_shipped_cards_say_it():
    card = encoder_card("tasb:minilm")
    folder = find_checkpoint(card.model)
    assert not contradiction(card, folder)
    assert 'pooling: "mean", normalise: true' in contradiction(encoder_card(f"tasb:{card.model}"), folder)


def test_files_that_cannot_be_read(tmp_path):
    folder = write_theirs(tmp_path / "theirs", OLD_MEAN)
    (folder / "modules.json").write_text("{}")
    with pytest.raises(TasbError, match="what sentence-transformers writes") as caught:
        TasbQueryEncoder(f"tasb:{folder}")
    assert caught.value.where == str(folder / "modules.json")
