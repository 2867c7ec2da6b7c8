"""Cards with `dimension`: vectors are cut to their first numbers, in every command."""

from __future__ import annotations

import numpy as np
import pytest

import pyserini_tasb as tasb
from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.recipes.types import EncoderCard
from tests.conftest import TINY, TINY_MODEL

TEXTS = ["what is a vector", "a longer passage about vectors and their lengths"]


@pytest.fixture
def card(tmp_path):
    def write(name="short", **values):
        path = tmp_path / f"{name}.yaml"
        lines = "".join(f"{key}: {str(value).lower()}\n" for key, value in values.items())
        path.write_text(f"name: {name}\nmodel: {TINY_MODEL}\n{lines}")
        return f"tasb:{path}"

    return write


@pytest.mark.parametrize(("backend", "normalise"), [("torch", False), ("torch", True), ("onnx", True)])
def test_the_first_numbers_stay(card, normalise, backend):
    whole = TasbQueryEncoder(card("whole", normalise=normalise), backend=backend).encode_batch(TEXTS)
    cut = whole[:, :8] / (np.linalg.norm(whole[:, :8], axis=1, keepdims=True) if normalise else 1)
    short = card(dimension=8, normalise=normalise)
    for encoder in (
        TasbQueryEncoder(short, backend=backend),
        TasbDocumentEncoder(short, device="cpu", backend=backend),
    ):
        assert encoder.dimension == 8
        found = encoder.encode_batch(TEXTS) if isinstance(encoder, TasbQueryEncoder) else encoder.encode(TEXTS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, cut, atol=1e-6)


def test_a_folder_and_an_index_of_cut_vectors(card, collection, tmp_path):
    encoder = card(dimension=8)
    vectors = tasb.encode(TINY / "corpus.jsonl", encoder=encoder, output=tmp_path / "vectors")
    run = tasb.search(tasb.index(vectors, output=tmp_path / "index"), topics=TINY / "topics.tsv", hits=5).to_dict()
    passages = [f"{title} {text}".strip() for title, text in zip(collection.titles, collection.texts, strict=True)]
    scores = (
        TasbQueryEncoder(encoder).encode_batch(list(collection.topics.values()))
        @ tasb.encode(texts=passages, encoder=encoder).T
    )
    for qid, of_query in zip(collection.topics, scores, strict=True):
        best = np.sort(of_query)[::-1][:5]
        np.testing.assert_allclose(sorted(run[qid].values(), reverse=True), best, rtol=1e-4)


def test_longer_than_the_model_s_vectors_is_refused(card):
    with pytest.raises(TasbError, match=r"the card `short`[\s\S]*`dimension` of at most 32[\s\S]*33"):
        TasbQueryEncoder(card(dimension=33))


def test_a_card_without_it_is_the_encoder_that_it_was(card):
    """Vector folders know an encoder by a digest of its card."""
    assert "dimension" not in EncoderCard(name="any", model="m").model_dump_json()
    assert "dimension" not in EncoderCard(name="any", model="m", dimension=None).model_dump(mode="json")
    assert EncoderCard(name="any", model="m", dimension=8).model_dump()["dimension"] == 8
    digests = [model_digest(card(**options)) for options in ({}, {"normalise": False}, {"dimension": 8})]
    assert digests[0] == digests[1] != digests[2]
