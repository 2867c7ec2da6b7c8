"""Encoders whose vectors are comparable have the same identity, others do not."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pyserini_tasb import TasbQueryEncoder
from pyserini_tasb.models import checkpoints
from pyserini_tasb.models.checkpoints import weights_digest
from tests.conftest import TINY_MODEL
from tests.encoding.conftest import export


def identity(encoder, **options):
    return TasbQueryEncoder(str(encoder), **options).identity


def differences(encoder, **options):
    return identity(encoder, **options).differences(vars(identity(TINY_MODEL)))


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(TINY_MODEL, tmp_path / "elsewhere" / "tasb-of-mine")


@pytest.fixture
def card(copy):
    def write(**values):
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
        (copy / "card.yaml").write_text(f"name: other\nmodel: .\n{lines}")
        return copy / "card.yaml"

    return write


def test_what_queries_and_passages_may_differ_in(copy, card):
    assert differences(copy) == []
    assert differences(copy, fp16=True, prefix="query:") == []
    assert differences(card(query_prefix="query: ", query_max_length=32, passage_max_length=99, precision="bf16")) == []


def test_pooling_normalisation_and_tokenizer(copy, card):
    assert differences(card(pooling="mean")) == ["cls pooling, not mean"]
    assert differences(card(normalise=True)) == ["vectors of any length, not vectors of length one"]
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    assert differences(copy) == ["another tokenizer"]
    assert differences(TINY_MODEL, tokenizer_name=str(copy)) == ["another tokenizer"]


def test_one_changed_weight(copy):
    weights = load_file(copy / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1e-3
    save_file(weights, copy / "model.safetensors")
    assert differences(copy) == ["other weights"]


@pytest.mark.parametrize("form", ["another order", "with a head", "pickled", "in parts"])
def test_the_same_weights_in_other_files(form, copy):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    if form == "another order":  # the metadata make another header, and so another file
        save_file(weights, copy / "model.safetensors", {"format": "pt", "more": "words"})
    elif form == "with a head":
        named = {f"distilbert.{name}": tensor for name, tensor in weights.items()}
        more = {"vocab_transform.weight": torch.ones(2, 2), "distilbert.embeddings.position_ids": torch.arange(512)}
        save_file(named | more, copy / "model.safetensors")
    elif form == "pickled":
        torch.save(weights, copy / "pytorch_model.bin")
    else:
        names = list(weights)
        parts = {"model-1.safetensors": names[:9], "model-2.safetensors": names[9:]}
        for file, those in parts.items():
            save_file({name: weights[name] for name in those}, copy / file)
        index = {"weight_map": {name: file for file, those in parts.items() for name in those}}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_digest(copy) == weights_digest(TINY_MODEL)


def test_an_exported_model_is_the_one_that_it_was_made_of(exported_tiny, exported_bert, bert_card, tmp_path):
    assert differences(exported_tiny) == []
    card = next(exported_bert.glob("*.yaml"))
    for encoder in (card, exported_bert):  # without its card, the graph still pools as it did
        assert identity(encoder).differences(vars(identity(bert_card))) == []
    int8 = export(bert_card, tmp_path / "int8", "--precision", "int8", "--force")
    assert identity(next(int8.glob("*.yaml"))).differences(vars(identity(bert_card))) == []


def test_an_export_of_an_earlier_version_is_not_known(exported_tiny, tmp_path):
    earlier = shutil.copytree(exported_tiny, tmp_path / "earlier")
    about = json.loads((earlier / "export.json").read_text())
    for key in ("source_weights", "files", "own_digest"):
        del about[key]
    (earlier / "export.json").write_text(json.dumps(about))
    assert identity(earlier) is None


def test_weights_are_read_once(copy, monkeypatch):
    first = weights_digest(copy)
    monkeypatch.setattr(checkpoints, "_tensors_digest", lambda _: "read again")
    assert weights_digest(copy) == first
    save_file(load_file(TINY_MODEL / "model.safetensors"), copy / "model.safetensors", {"format": "pt"})
    assert weights_digest(copy) == "read again"


def test_other_weights_of_the_same_size_and_time(copy):
    """Packages are installed with the times of their archive, and `cp -p` keeps times, too."""
    file = copy / "model.safetensors"
    first, stat = weights_digest(copy), file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert weights_digest(copy) != first


def test_a_cache_that_cannot_be_written(copy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert weights_digest(copy) == weights_digest(TINY_MODEL)
