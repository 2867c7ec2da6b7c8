"""Exported folders that are damaged, and devices that are not there."""

from __future__ import annotations

import json
import shutil

import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.models import onnx
from pyserini_tasb.models.onnx import OnnxModel


@pytest.fixture
def folder(exported_tiny, tmp_path):
    return shutil.copytree(exported_tiny, tmp_path / "copy")


def test_a_cut_graph(folder):
    about = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps(about | {"files": {}, "own_digest": ""}))  # as earlier versions did
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:100_000])
    with pytest.raises(TasbError, match=r"model\.onnx\n  expected: a model that ONNX Runtime can read"):
        OnnxModel(folder, "cpu")


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 1}'])
def test_a_damaged_description(folder, content):
    if content is None:
        (folder / "export.json").unlink()
    else:
        (folder / "export.json").write_text(content)
    with pytest.raises(TasbError, match=r"export\.json[\s\S]*export the model again"):
        OnnxModel(folder, "cpu")


def test_a_format_of_a_later_version(folder):
    about = folder / "export.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 2}))
    with pytest.raises(TasbError, match="Input should be 1"):
        OnnxModel(folder, "cpu")


def test_a_tokenizer_with_more_words_than_the_model(folder):
    about = folder / "export.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"vocabulary": 100, "own_digest": ""}))
    with pytest.raises(TasbError, match=r"at most 100 tokens[^\n]*\n  found:    one of 2224"):
        OnnxModel(folder, "cpu").tokenizer(None)


@pytest.mark.skipif(onnx.has_gpu(), reason="this ONNX Runtime is built for GPUs")
@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_a_device_that_it_cannot_use(folder, device):
    with pytest.raises(TasbError, match=rf"{device}`\n  found:    an ONNX Runtime without CUDA"):
        OnnxModel(folder, device)
