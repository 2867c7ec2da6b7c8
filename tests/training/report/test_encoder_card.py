from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.encoding.encoders import TasbDocumentEncoder, TasbQueryEncoder
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.training.results import check_card_name, write_encoder_card
from tests.conftest import TINY_MODEL, plain_vectors

TEXTS = ["time sharing system", "intermediate languages"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "encoders"


@pytest.fixture
def model(tmp_path):
    shutil.copytree(TINY_MODEL, tmp_path / "run" / "model")
    return tmp_path / "run" / "model"


def test_the_encoder_works_at_once(model, home):
    path = write_encoder_card(EncoderCard(name="mine", model=str(model), description="of my own"))
    assert path == home / "mine.yaml"
    encoder = TasbQueryEncoder("tasb:mine")
    assert np.allclose(encoder.encode_batch(TEXTS), plain_vectors(TINY_MODEL, TEXTS), atol=1e-5)
    card = encoder_card("tasb:mine")
    assert (card.query_max_length, card.passage_max_length, card.description) == (512, 512, "of my own")
    assert path.read_text().splitlines()[1:] == [
        "name: mine", "description: of my own", f"model: {model}", "pooling: cls", "normalise: false",
        "query_max_length: 512", "passage_max_length: 512",
    ]  # fmt: skip


def test_the_card_in_the_models_folder_moves_with_it(model, tmp_path, home):
    write_encoder_card(EncoderCard(name="mine", model=str(model)))
    shutil.rmtree(home)
    model.rename(tmp_path / "elsewhere")
    encoder = TasbDocumentEncoder(f"tasb:{tmp_path}/elsewhere/mine.yaml")
    assert np.allclose(encoder.encode(TEXTS), plain_vectors(TINY_MODEL, TEXTS), atol=1e-5)


def test_all_that_makes_a_vector_is_kept(model):
    card = EncoderCard(
        name="mine",
        model=str(model),
        pooling="mean",
        normalise=True,
        query_prefix="query: ",
        passage_prefix="passage: 'ß' ",
        query_max_length=64,
        precision="bf16",
        citation="Us: a paper. 2026",
    )
    write_encoder_card(card)
    assert encoder_card("tasb:mine") == card
    assert encoder_card(f"{model}/mine.yaml") == card


def test_a_relative_folder_is_found_from_anywhere(model, monkeypatch, tmp_path):
    monkeypatch.chdir(model.parent)
    write_encoder_card(EncoderCard(name="mine", model="model"))
    check_card_name("mine", Path("model"))
    monkeypatch.chdir(tmp_path)
    assert encoder_card("tasb:mine").model == str(model)


def test_a_card_of_the_same_model_is_written_anew(model):
    write_encoder_card(EncoderCard(name="mine", model=str(model)))
    check_card_name("mine", model)
    write_encoder_card(EncoderCard(name="mine", model=str(model), pooling="mean"))
    assert encoder_card("tasb:mine").pooling == "mean"


@pytest.mark.parametrize(
    ("existing", "phrase"),
    [
        ("name: mine\nmodel: ./model\n", "home/encoders/model"),
        ("name: mine\nmodel: organisation/model\n", "organisation/model"),
        ("name: mine\nmodel: [\n", "YAML"),
        ("name: other\nmodel: organisation/model\n", "organisation/model"),
    ],
)
def test_a_users_card_for_another_model_stays(model, home, existing, phrase):
    home.mkdir(parents=True)
    (home / "mine.yaml").write_text(existing)
    for attempt in (
        lambda: check_card_name("mine", model),
        lambda: write_encoder_card(EncoderCard(name="mine", model=str(model))),
    ):
        with pytest.raises(TasbError, match=phrase):
            attempt()
    assert (home / "mine.yaml").read_text() == existing
    assert not (model / "mine.yaml").exists()


@pytest.mark.parametrize("name", ["tasb", "minilm"])
def test_names_that_come_with_the_package(model, name):
    with pytest.raises(TasbError, match="comes with pyserini-tasb"):
        check_card_name(name, model)


def test_an_alias_of_another_encoder(model, home):
    home.mkdir(parents=True)
    (home / "other.yaml").write_text("name: other\nmodel: organisation/other\naliases: [mine]\n")
    with pytest.raises(TasbError, match="an alias of `tasb:other`"):
        check_card_name("mine", model)


@pytest.mark.parametrize(
    ("name", "like"),
    [("My Model", "my-model"), ("../up", "up"), ("a/b", "a-b"), ("mine.yaml", "mine"), ("", "my-model")],
)
def test_what_cannot_be_a_name(model, name, like):
    with pytest.raises(TasbError, match=f"`{like}`"):
        check_card_name(name, model)


def test_a_folder_that_cannot_be_written_is_noticed_before_training(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "file"))
    with pytest.raises(TasbError, match="PYSERINI_TASB_HOME"):
        check_card_name("mine", model)


def test_checking_writes_no_card(model, home):
    assert check_card_name("mine", model) == home / "mine.yaml"
    assert list(home.iterdir()) == []
    assert check_card_name("mine", Path("not-made-yet")) == home / "mine.yaml"
