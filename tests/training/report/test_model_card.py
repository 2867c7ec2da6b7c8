from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard

from pyserini_tasb.encoding.encoders import TasbDocumentEncoder, TasbQueryEncoder
from pyserini_tasb.models.sentence_transformers_folder import write_sentence_transformers_files
from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.training.model_card import Number, Provenance, write_encoder_model_card
from pyserini_tasb.training.results import write_encoder_card
from tests.conftest import DIMENSION, TINY_MODEL

DATA = {"pairs": {"queries": 320, "scored pairs": 1_000, "source": "a|b\nc"}, "teacher": None, "caps": (30, 200)}
PARAMETERS = {"seed": 208_973_249, "optimiser": {"name": "adam", "learning_rate": 7e-06}, "gradient_cache": False}


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    shutil.copytree(TINY_MODEL, tmp_path / "model")
    return tmp_path / "model"


def written(model, *, base_model="organisation/base", encoder=None, **options):
    card = encoder or EncoderCard(name="mine", model=str(model), description="For my own collection.")
    write_encoder_card(card)
    provenance = Provenance(base_model, DATA, PARAMETERS, **options)
    path = write_encoder_model_card(model, card, provenance, dimension=DIMENSION)
    assert path == model / "README.md"
    return path.read_text()


def test_the_hubs_metadata(model):
    written(model, licence="apache-2.0")
    data = ModelCard.load(model / "README.md").data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["base_model"] == "organisation/base"
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "feature-extraction"
    assert "tas-b" in data["tags"]


@pytest.mark.parametrize("base_model", ["/home/me/secret/base", "./base", "pkg:package/model"])
def test_no_licence_that_was_not_given_and_no_base_model_that_the_hub_does_not_know(model, base_model):
    text = written(model, base_model=base_model)
    data = ModelCard.load(model / "README.md").data.to_dict()
    assert not {"license", "base_model"} & data.keys()
    assert "secret" not in text
    assert f"`{base_model if base_model.startswith('pkg:') else 'base'}`" in text


def test_data_parameters_and_numbers(model):
    numbers = [
        Number("this model (step 240)", "validation set, 32 queries", "nDCG@10", 0.41236),
        Number("baseline run", "validation set, 32 queries", "nDCG@10", 0.3),
    ]
    text = written(model, numbers=numbers, curves="curves.png")
    for line in (
        "| this model (step 240) | validation set, 32 queries | nDCG@10 | 0.4124 |",
        "| baseline run | validation set, 32 queries | nDCG@10 | 0.3000 |",
        "| pairs.queries | 320 |",
        r"| pairs.source | a\|b c |",
        "| teacher | none |",
        "| caps | 30, 200 |",
        "| seed | 208973249 |",
        "| optimiser.learning_rate | 7e-06 |",
        "| gradient_cache | no |",
        "![Loss and validation curves](curves.png)",
        "For my own collection.",
    ):
        assert line in text.splitlines(), line
    assert "--encoder tasb:mine" in text
    assert f"--dimension {DIMENSION}" in text
    assert "Efficiently Teaching an Effective Dense Retriever" in text
    assert "\n\n\n" not in re.sub(r"```python.*?```", "code", text, flags=re.DOTALL)
    assert "{{" not in text.replace("{{Eff", "")
    # tables need an empty line before them and none inside
    assert not re.search(r"[^\n|]\n\|", text)
    assert not re.search(r"\|\n\n\|", text)


def test_nothing_about_numbers_that_are_not(model):
    text = written(model)
    assert "## Numbers" not in text
    assert "curves" not in text


ENCODERS = {
    "as TAS-B": {},
    "as sentence-transformers": {
        "pooling": "mean", "normalise": True, "query_prefix": 'say "query": ', "passage_prefix": "passage: ",
    },
    "short": {"query_max_length": 5, "passage_max_length": 4},
    "last": {"pooling": "last"},
    "cut": {"dimension": 8, "normalise": True},
}  # fmt: skip


@pytest.mark.parametrize("encoder", ENCODERS)
def test_its_python_gives_the_encoders_vectors(model, monkeypatch, encoder):
    card = EncoderCard(name="mine", model=str(model), **ENCODERS[encoder])
    text = written(model, encoder=card)
    with_sentence_transformers, code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(model)
    write_sentence_transformers_files(model, card, dimension=DIMENSION, longest=512)
    theirs, names = {}, {}
    exec(with_sentence_transformers, theirs)  # noqa: S102 - that it runs is what is tested
    exec(code, names)  # noqa: S102
    if card.query_max_length == card.passage_max_length:
        assert np.allclose(theirs["scores"].numpy(), names["scores"].numpy(), atol=1e-5)
    else:
        assert f"queries should be cut at {card.query_max_length} tokens" in text
    query = TasbQueryEncoder("tasb:mine").encode("what is a dense retriever")
    passages = TasbDocumentEncoder("tasb:mine").encode(["Dense retrievers compare vectors."])
    assert np.allclose(names["query"].numpy(), query, atol=1e-5)
    assert np.allclose(names["passages"].numpy(), passages, atol=1e-5)
    assert names["scores"].shape == (1, 1)


def test_same_input_same_bytes(model):
    assert written(model) == written(model)


def test_rendered_by_hand(model):
    """What a reader sees, once: the first lines."""
    body = written(model).partition("---\n# ")[2]
    assert body.startswith(
        "mine\n\nFor my own collection.\n\nA dense passage retriever. A text becomes one vector of 32 numbers, its "
        "first token's last hidden state; a passage's score is its dot product with the query.\nTrained from "
        "[organisation/base](https://huggingface.co/organisation/base) by pyserini-tasb "
    )
