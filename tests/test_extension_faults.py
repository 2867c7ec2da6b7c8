"""Extensions that are wrong: each is refused by name, before it could make wrong results."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import yaml

from pyserini_tasb import encode, fuse
from pyserini_tasb.encoding.onnx_runtime import _place
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.named import load_topics
from pyserini_tasb.fusion.methods import METHODS, NORMALISATIONS
from pyserini_tasb.models.backends import BACKENDS, Torch
from pyserini_tasb.models.poolings import POOLINGS
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.training.sampling import SAMPLINGS, SampledBatch, build_sampler
from tests.conftest import TINY_MODEL
from tests.training.sampling.pairs_in_memory import pairs_of


@pytest.fixture
def registered():
    """Registers for one test."""
    entries = []

    def add(registry, name, entry):
        registry.add(name, entry)
        entries.append((registry, name))
        return name

    yield add
    for registry, name in entries:
        registry.remove(name)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported, and can be written again."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return tmp_path

    return write


RUNS = [{"q": {"a": 3.0, "b": 2.0}}, {"q": {"a": 1.0, "c": 2.0}}]


@pytest.mark.parametrize(
    ("contributions", "found"),
    [
        (lambda candidates: candidates.scores()[:, 0], r"shape \(3,\)"),
        (lambda candidates: candidates.scores()[:, :1], r"shape \(3, 1\)"),
        (lambda candidates: candidates.ranks(), "a number that is not finite"),
        (lambda candidates: candidates.scores() * np.nan, "a number that is not finite"),
    ],
)
def test_contributions(registered, contributions, found):
    name = registered(METHODS, "wrong", contributions)
    with pytest.raises(TasbError, match=rf"from the fusion method `wrong`[\s\S]*{found}"):
        fuse(RUNS, method=name)


@pytest.mark.parametrize(
    ("shift_and_scale", "found"),
    [
        (lambda lists: lists.lowest, "ndarray of something else"),
        (lambda lists: (lists.lowest, 0 * lists.lowest), "a scale of 0"),
        (lambda lists: (lists.lowest, lists.scores), "tuple of something else"),
    ],
)
def test_shift_and_scale(registered, shift_and_scale, found):
    name = registered(NORMALISATIONS, "wrong", shift_and_scale)
    with pytest.raises(TasbError, match=rf"from `wrong`[\s\S]*{found}"):
        fuse(RUNS, method="combsum", normalization=name)


@pytest.mark.parametrize(
    "pool",
    [
        lambda tokens, _mask: tokens[:1, 0],
        lambda tokens, _mask: tokens,
        lambda tokens, _mask: torch.cat([tokens[:, 0], tokens[:, 0]], dim=1),
        lambda _tokens, _mask: None,
    ],
)
def test_a_pooling_of_another_shape(registered, tmp_path, pool):
    registered(POOLINGS, "wrong", pool)
    (tmp_path / "card.yaml").write_text(f"name: card\nmodel: {TINY_MODEL}\npooling: wrong\n")
    with pytest.raises(TasbError, match="from the pooling `wrong`"):
        encode(texts=["a", "b c"], encoder=str(tmp_path / "card.yaml"))


def test_a_back_end_of_another_shape(registered):
    class One(Torch):
        """Gives one vector for all texts."""

        def load(self, card, precision, device):
            model = super().load(card, precision, device)
            every = model.vectors
            model.vectors = lambda ids, mask: every(ids, mask)[:1]
            return model

    name = registered(BACKENDS, "one", One)
    with pytest.raises(TasbError, match=r"vectors of shape \(2, 32\) from the back end"):
        encode(texts=["a", "b"], encoder=str(TINY_MODEL), backend=name)


def sampler_of(choose):
    """A strategy whose batches are what `choose` makes of the pairs."""

    def build(sampling):
        return type("Wrong", (), {"batch": lambda _self, _step: choose(sampling)})()

    return build


@pytest.mark.parametrize("batch", [None, SampledBatch(np.array([0]), np.array([0])), SampledBatch([0.5, 1], [0, 1])])
def test_batches_of_another_size_or_type(registered, batch):
    name = registered(SAMPLINGS, "wrong", sampler_of(lambda _sampling: batch))
    sampler = build_sampler(name, pairs_of([[1.0], [2.0], [3.0]]), batch_size=3, seed=1)
    with pytest.raises(TasbError, match=r"batches of 3 queries, from the sampling strategy `wrong`"):
        sampler.batch(0)


def test_a_strategy_that_gives_no_sampler(registered):
    name = registered(SAMPLINGS, "wrong", lambda _sampling: 3)
    with pytest.raises(TasbError, match="sampler's `batch`"):
        build_sampler(name, pairs_of([[1.0]]), batch_size=1, seed=1)


def test_readers(module):
    folder = module(
        "some_readers",
        "def table(path):\n    return {'31': 'green', '42': 'red'}\n"
        "def texts(path):\n    return ['ab', 'cd']\n"
        "def none(path):\n    return []\n"
        "def surrogate(path):\n    yield 'a', chr(0xd800)\n",
    )
    (folder / "a:b.tsv").write_text("1\tone\n")
    (folder / "x").write_text("")
    assert load_topics(f"some_readers:table:{folder}/x") == {"31": "green", "42": "red"}
    assert list(open_collection(folder / "a:b.tsv")) == [("1", "one")]  # a path that exists is that path
    (folder / "sub").mkdir()
    (folder / "sub" / "a:b.tsv").write_text("2\ttwo\n")
    assert list(open_collection(f"lines:{folder}/sub/a:b.tsv")) == [("2", "two")]
    for reader, found in (("texts", "not two strings"), ("surrogate", "surrogates not allowed")):
        with pytest.raises(TasbError, match=found):
            list(open_collection(f"some_readers:{reader}:{folder}/x"))
    with pytest.raises(TasbError, match="at least one query, from the reader"):
        load_topics(f"some_readers:none:{folder}/x")
    with pytest.raises(TasbError, match="no reader `nope`"):
        open_collection(folder.relative_to(folder) / "nope:x.tsv")


def test_a_model_folder_with_a_pooling_from_outside_is_not_read_as_cls_in_silence(tmp_path, caplog):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in TINY_MODEL.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "mine.yaml").write_text("name: mine\nmodel: .\npooling: gone:pool\n")
    with caplog.at_level(logging.WARNING, "pyserini_tasb"):
        encode(texts=["a"], encoder=str(folder))
    assert "was made for other vectors (pooling: gone:pool), as its mine.yaml says" in caplog.text


def test_cards_that_come_with_weights_wherever_they_lie(tmp_path, module):
    module("some_pool", "def pool(tokens, mask):\n    return tokens[:, 0]\n")
    (tmp_path / "sent" / "deep").mkdir(parents=True)
    (tmp_path / "sent" / "deep" / "model").symlink_to(TINY_MODEL)
    card = tmp_path / "sent" / "card.yaml"
    card.write_text("name: sent\nmodel: ./deep/model\npooling: some_pool:pool\n")
    (tmp_path / "link.yaml").symlink_to(card)
    for path in (card, tmp_path / "link.yaml"):
        with pytest.raises(TasbError, match="--trust some_pool"):
            encoder_card(str(path))
    card.write_text(yaml.safe_dump({"name": "own", "model": str(TINY_MODEL), "pooling": "some_pool:pool"}))
    assert encoder_card(str(card)).pooling == "some_pool:pool"


def test_an_exported_graph_does_not_outlive_its_poolings_code(module):
    module("first_pool", "def pool(tokens, mask):\n    return tokens[:, 0]\n")
    card = EncoderCard(name="card", model=str(TINY_MODEL), pooling="first_pool:pool")
    before = _place(card, "fp32")
    assert _place(card, "fp32") == before
    module("first_pool", "def pool(tokens, mask):\n    return 3 * tokens[:, 1]\n")
    assert _place(card, "fp32") != before
