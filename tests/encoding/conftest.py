"""Random models of two shapes with the tiny model's tokenizer, and exports of them."""

from __future__ import annotations

import logging
import shutil

import pytest

from pyserini_tasb.models import backends
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL

WORDS = 2224


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """The user's cache folder, for the whole session: models are exported once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def nothing_logged(monkeypatch):
    """What is logged once in a process is logged again in each test; no back end is chosen from outside."""
    monkeypatch.setattr(backends, "_logged", set())
    monkeypatch.delenv("PYSERINI_TASB_BACKEND", raising=False)


@pytest.fixture
def notes(caplog):
    """What the package logs, notes included."""
    caplog.set_level(logging.INFO, "pyserini_tasb")
    return caplog


@pytest.fixture(scope="session")
def bert_model(tmp_path_factory):
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
        initializer_range=0.1,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    for file in TINY_MODEL.glob("*"):
        if "token" in file.name or file.name == "vocab.txt":
            shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def bert_card(bert_model):
    """Mean pooling, normalised, with prefixes: all that a card can ask of a graph or must keep beside it."""
    card = bert_model / "mean.yaml"
    card.write_text(
        "name: mean\nmodel: .\npooling: mean\nnormalise: true\nquery_prefix: 'query: '\npassage_prefix: 'sort '\n"
        "query_max_length: 16\npassage_max_length: 128\ncitation: nobody\n"
    )
    return card


@pytest.fixture(scope="session")
def exported_bert(bert_card, tmp_path_factory):
    return export(bert_card, tmp_path_factory.mktemp("exported") / "bert")


@pytest.fixture(scope="session")
def exported_tiny(tmp_path_factory):
    return export(TINY_MODEL, tmp_path_factory.mktemp("exported") / "tiny")


def write_timing(folder, *, passages, queries):
    """Give an export in int8 other measured numbers: milliseconds in fp32 and in int8, for passages and for queries."""
    from pyserini_tasb.models.onnx import Timing, read_about, write_about  # brings pydantic

    times = [dict(zip(("fp32", "int8 of 8 bits", "int8 of 7 bits"), (fp32, int8, int8), strict=True))
             for fp32, int8 in (passages, queries)]  # fmt: skip
    timing = Timing(passages=times[0], queries=times[1], threads=1)
    write_about(read_about(folder).model_copy(update={"timing": timing}), folder)


def export(encoder, folder, *options):
    sample = ["--sample", str(TINY / "corpus.jsonl"), str(TINY / "topics.tsv")]
    assert tasb("export", "--encoder", encoder, "--output", folder, *sample, *options) == 0
    return folder


def cosines(one, other):
    import numpy as np

    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
