"""`tasb export`: the folder gives torch's vectors, without torch, and says what was lost."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

import pyserini_tasb
from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder
from pyserini_tasb.encoding import export_accuracy, export_graph, onnx_runtime
from pyserini_tasb.encoding.export import built_in_sample
from pyserini_tasb.environment.processor import processor
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.models.onnx import Accuracy, read_about, write_about
from pyserini_tasb.recipes.lookup import encoder_card
from tests.command_line import tasb
from tests.conftest import DIMENSION, TINY, TINY_MODEL, plain_vectors
from tests.encoding.conftest import cosines, export
from tests.models.causal_models import causal_model, last_vectors, tokenizer_without_cls

WITHOUT_TORCH = """
import sys
from pyserini_tasb import TasbDocumentEncoder, TasbQueryEncoder
passages = TasbDocumentEncoder(sys.argv[1], device="cpu").encode(["a sort", None], titles=["merge", ""])
queries = TasbQueryEncoder(sys.argv[1]).encode_batch(["a sort", ""])
print(passages.shape, queries.shape, *({"torch", "transformers", "onnx"} & sys.modules.keys()))
"""


def about(folder):
    return json.loads((folder / "export.json").read_text())


@pytest.fixture(scope="module")
def exported_int8(bert_card, tmp_path_factory):
    return export(bert_card, tmp_path_factory.mktemp("exported") / "int8", "--precision", "int8", "--force")


def test_distilbert_gives_the_plain_vectors(exported_tiny, collection):
    encoder = TasbDocumentEncoder(f"tasb:{exported_tiny}", device="cpu")
    expected = plain_vectors(TINY_MODEL, collection.texts)
    np.testing.assert_allclose(encoder.encode(collection.texts), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "distilbert"])
def test_last_tokens_are_pooled(tmp_path, kind, collection):
    folder = tmp_path / kind
    if kind == "distilbert":
        shutil.copytree(TINY_MODEL, folder)
    else:
        causal_model(folder, kind)
    card = folder / "last.yaml"
    card.write_text("name: last\nmodel: .\npooling: last\n")
    exported = next(export(card, tmp_path / "exported").glob("*.yaml"))
    texts = collection.texts[:9]
    vectors = TasbDocumentEncoder(f"tasb:{exported}", device="cpu").encode(texts, max_length=50)
    np.testing.assert_allclose(vectors, last_vectors(folder, texts, 50), atol=1e-4)


def test_a_tokenizer_without_cls_is_refused_here_too(exported_tiny, tmp_path):
    other = tokenizer_without_cls(tmp_path / "other")
    with pytest.raises(TasbError, match=r"puts \[CLS\]"):
        TasbQueryEncoder(f"tasb:{exported_tiny}", tokenizer_name=str(other))


def test_bert_pools_normalises_and_keeps_what_the_card_says(bert_card, exported_bert, collection):
    card = next(exported_bert.glob("*.yaml"))
    assert card.name == "mean-onnx-fp32.yaml"
    kept = encoder_card(str(card)).model_dump()
    original = encoder_card(str(bert_card)).model_dump()
    changed = {"name", "description", "model", "backend"}
    assert {key: kept[key] for key in kept.keys() - changed} == {key: original[key] for key in kept.keys() - changed}
    assert (kept["model"], kept["backend"]) == (str(exported_bert), "onnx")
    for cls, texts in ((TasbDocumentEncoder, collection.texts), (TasbQueryEncoder, list(collection.topics.values()))):
        own, torchs = (cls(str(path), device="cpu") for path in (card, bert_card))
        encode = {TasbDocumentEncoder: "encode", TasbQueryEncoder: "encode_batch"}[cls]
        vectors, expected = getattr(own, encode)(texts), getattr(torchs, encode)(texts)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("folder", "layers", "for_one_token"), [("exported_tiny", 1, 1), ("exported_bert", 3, 0), ("exported_int8", 3, 0)]
)
def test_attention_of_all_tokens_is_fused_in_every_layer(folder, layers, for_one_token, request):
    onnx = pytest.importorskip("onnx")
    folder = request.getfixturevalue(folder)
    assert (about(folder)["attention_layers"], about(folder)["attention_fused"]) == (layers, layers)
    operators = [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]
    assert sum(operator in {"Attention", "QAttention"} for operator in operators) == layers
    assert operators.count("Softmax") == for_one_token


def test_what_is_multiplied_is_int8(exported_int8):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(exported_int8 / "model.onnx").graph
    assert not {"MatMul", "Attention", "Gemm"} & {node.op_type for node in graph.node}
    # A scale for each column.
    scales = [tensor.dims[0] for tensor in graph.initializer if tensor.name.endswith("_scale") and tensor.dims]
    assert len(scales) == 3 * 4
    assert min(scales) >= 64


def test_int8_is_close(exported_int8, bert_card, collection):
    card = next(exported_int8.glob("*.yaml"))
    vectors = TasbDocumentEncoder(str(card), device="cpu").encode(collection.texts)
    exact = TasbDocumentEncoder(str(bert_card), device="cpu").encode(collection.texts)
    assert 0.98 < cosines(vectors, exact).mean() < 0.999999


@pytest.mark.parametrize("bits", [7, 8])
def test_int8_weights_have_the_bits_that_the_user_asks_for(bert_card, tmp_path, monkeypatch, bits):
    onnx = pytest.importorskip("onnx")
    monkeypatch.setenv("PYSERINI_TASB_INT8", str(bits))
    folder = export(bert_card, tmp_path / "out", "--precision", "int8", "--force")
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(folder / "model.onnx").graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert len(weights) == 3 * 4
    assert max(np.abs(weight.astype(int)).max() for weight in weights) == {7: 64, 8: 127}[bits]
    known = about(folder)
    assert (known["weight_bits"], known["timing"], known["processor"]) == (bits, None, processor())


@pytest.mark.parametrize(
    ("bits", "elsewhere", "saturates", "warns"),
    [(8, True, True, True), (8, False, True, False), (8, True, False, False), (7, True, True, False)],
)
def test_int8_of_another_cpu_is_pointed_at_where_it_saturates(
    exported_int8, tmp_path, monkeypatch, notes, bits, elsewhere, saturates, warns
):
    folder = shutil.copytree(exported_int8, tmp_path / "copy")
    where = "another" if elsewhere else processor()
    write_about(read_about(folder).model_copy(update={"weight_bits": bits, "processor": where}), folder)
    monkeypatch.setattr(onnx_runtime, "int8_products_saturate", lambda: saturates)
    TasbDocumentEncoder(str(next(folder.glob("*.yaml"))), device="cpu")
    assert notes.text.count(f"{folder} was exported on another CPU, with int8 weights of 8 bits") == warns


def test_int8_is_not_taken_for_fp32(exported_int8):
    with pytest.raises(TasbError, match=r"a model of precision fp32 or better[\s\S]*exported in int8"):
        TasbQueryEncoder(f"tasb:{exported_int8}")
    # Pyserini's --fp16 never asks an int8 card for more.
    assert TasbQueryEncoder(str(next(exported_int8.glob("*.yaml"))), fp16=True).encode("sort").shape == (64,)


def test_the_folder_needs_no_torch_and_can_be_moved(exported_bert, tmp_path):
    moved = shutil.copytree(exported_bert, tmp_path / "elsewhere")
    command = [sys.executable, "-c", WITHOUT_TORCH, f"tasb:{moved / 'mean-onnx-fp32.yaml'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "(2, 64) (2, 64)\n", done.stderr


def test_the_folder_has_a_digest(exported_tiny, tmp_path):
    copy = shutil.copytree(exported_tiny, tmp_path / "copy")
    assert model_digest(str(copy)) == model_digest(str(exported_tiny))
    graph = copy / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert model_digest(str(copy)) != model_digest(str(exported_tiny))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_damaged_folder_is_refused(name, exported_bert, tmp_path):
    copy = shutil.copytree(exported_bert, tmp_path / "copy")
    card = copy / "mean-onnx-fp32.yaml"
    values = yaml.safe_load(card.read_text())
    card.write_text(yaml.safe_dump(values | {"query_prefix": "q: "}))  # which is for its owner to change
    TasbQueryEncoder(str(card))
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(TasbError, match=rf"{name} has other bytes[\s\S]*export the model again") as caught:
        TasbQueryEncoder(str(card))
    assert caught.value.where == str(copy)
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(TasbError, match=rf"{name} has [\d,]+ bytes, not [\d,]+"):
        TasbQueryEncoder(str(card))
    (copy / name).unlink()
    with pytest.raises(TasbError):
        TasbQueryEncoder(str(card))


def test_a_folder_of_an_earlier_version_lists_no_files(exported_bert, tmp_path):
    copy = shutil.copytree(exported_bert, tmp_path / "copy")
    known = about(copy)
    assert set(known.pop("files")) >= {"model.onnx", "tokenizer.json", "config.json"}
    assert known.pop("own_digest")
    (copy / "export.json").write_text(json.dumps(known))
    assert TasbQueryEncoder(str(copy / "mean-onnx-fp32.yaml")).encode("sort").shape == (64,)


def test_the_report(exported_bert, exported_int8):
    fp32, int8 = (about(folder)["accuracy"] for folder in (exported_bert, exported_int8))
    topics = len((TINY / "topics.tsv").read_text().splitlines())
    assert (fp32["passages"], fp32["queries"]) == (min(128, len((TINY / "corpus.jsonl").open().readlines())), topics)
    assert fp32["cosine_min"] > 0.99999
    assert fp32["overlap_at_10"] > 0.99
    assert fp32["cosine_min"] <= fp32["cosine_mean"]
    assert int8["cosine_mean"] < fp32["cosine_mean"]
    assert int8["rbo"] < fp32["rbo"]


def test_the_command_says_what_came_out(tmp_path, capsys):
    folder = export(TINY_MODEL, tmp_path / "out")
    out = capsys.readouterr().out
    assert "in fp32; attention of all tokens fused in 1 of 1 layers\n" in out
    assert "top-10 overlap 1.0000, RBO 1.0000" in out
    card = re.search(r"use it: --encoder (\S+)", out)[1]
    assert TasbQueryEncoder(card).dimension == DIMENSION
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert not (folder / "work").exists()


def test_too_much_is_lost(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(export_accuracy.FLOORS, "int8", (0.9, 0.99999, 0.8))
    arguments = ["export", "--encoder", str(TINY_MODEL), "--output", str(tmp_path / "out"), "--precision", "int8"]
    assert tasb(*arguments) == 2
    assert re.search(r"on average 0\.99999,[\s\S]*found: +cosine 0\.9[\s\S]*--force", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
    assert tasb(*arguments, "--force") == 0
    assert (tmp_path / "out" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("name", "cosine_min", "cosine_mean", "top", "fits"),
    [
        ("fp32", 1, 1, 1, True), ("fp32", 0.9999, 1, 1, False), ("fp32", 1, 1, 0.9, False),
        ("int8", 0.95, 0.99, 0.85, True), ("int8", 0.85, 0.99, 0.85, False), ("int8", 0.95, 0.97, 0.85, False),
        ("int8", 0.95, 0.99, 0.75, False), ("int8", float("nan"), float("nan"), 0.9, False),
    ],
)  # fmt: skip
def test_floors(name, cosine_min, cosine_mean, top, fits):
    measured = Accuracy(passages=1, queries=1, cosine_mean=cosine_mean, cosine_min=cosine_min, overlap_at_10=top, rbo=1)
    if fits:
        export_accuracy.require_accuracy(measured, name, "model")
    else:
        with pytest.raises(TasbError, match="tasb export --force"):
            export_accuracy.require_accuracy(measured, name, "model")


def test_what_is_there_stays(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert tasb("export", "--encoder", TINY_MODEL, "--output", tmp_path) == 2
    assert "a new or empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_packages_that_are_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export_graph, "PACKAGES", ("onnx", "no_such_package"))
    assert tasb("export", "--encoder", TINY_MODEL, "--output", tmp_path / "out") == 2
    assert "pip install 'pyserini-tasb[onnx]'" in capsys.readouterr().err


def test_an_export_is_not_exported_again(exported_tiny, tmp_path, capsys):
    assert tasb("export", "--encoder", exported_tiny, "--output", tmp_path / "out") == 2
    assert "exported already" in capsys.readouterr().err


def test_a_model_that_is_too_large(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export_graph, "MOST_BYTES", 100_000)
    assert tasb("export", "--encoder", TINY_MODEL, "--output", tmp_path / "out") == 2
    assert "of weights in fp32, for one ONNX file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_exporters_warnings_stay_inside():
    import logging

    root = logging.getLogger()
    before = (list(root.handlers), root.manager.disable)
    with export_graph.quiet():
        logging.warning("nobody can do anything about it")  # noqa: LOG015 - as the quantiser does
    assert (root.handlers, root.manager.disable) == before


def test_the_sample_that_comes_along():
    sample = built_in_sample()
    assert (len(sample.passages), len(sample.queries)) == (128, 64)
    assert min(map(len, sample.passages)) > 400 - 60
    assert sample.queries[2] == ("Intermediate languages used in construction of multi-targeted compilers; TCOLL")
    assert not any(re.search(r"<|\t|\n", text) for text in [*sample.passages, *sample.queries])


def test_from_python(bert_card, exported_bert, collection, tmp_path, capsys):
    exported = pyserini_tasb.export(
        str(bert_card), output=tmp_path / "out", sample=(TINY / "corpus.jsonl", collection.topics)
    )
    assert capsys.readouterr().out == ""
    assert (exported.path, exported.model, exported.precision) == (tmp_path / "out", str(bert_card.parent), "fp32")
    assert exported.accuracy.model_dump() == about(exported_bert)["accuracy"]
    queries = list(collection.topics.values())
    np.testing.assert_allclose(
        TasbQueryEncoder(exported.encoder).encode_batch(queries),
        TasbQueryEncoder(str(bert_card)).encode_batch(queries),
        atol=1e-5,
    )
    with pytest.raises(TasbError, match="one of fp32, int8 for precision="):
        pyserini_tasb.export(str(bert_card), output=tmp_path / "other", precision="bf16")


def test_a_pooling_from_outside_has_to_be_trusted_and_the_command_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_poolings.py").write_text("def first(states, mask):\n    return states[:, 0]\n")
    card = tmp_path / "card.yaml"
    card.write_text(f"name: mine\nmodel: {TINY_MODEL}\npooling: my_poolings:first\n")
    sample = ("--sample", TINY / "corpus.jsonl", TINY / "topics.tsv")
    assert tasb("export", "--encoder", card, "--output", tmp_path / "new", *sample) == 0
    use = re.search(r"use it: (.+)", capsys.readouterr().out)[1].split()
    assert use[2:] == ["--trust", "my_poolings"]
    encode = ("encode", "--corpus", TINY / "corpus.jsonl", "--output", tmp_path / "vectors")
    assert tasb(*encode, *use) == 0
    assert tasb(*encode, *use[:2]) == 2
