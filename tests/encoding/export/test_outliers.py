"""Outlier features: divided where int8 gains by it, with the same products in fp32."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import AutoModel

from pyserini_tasb.encoding import int8
from pyserini_tasb.encoding.export_accuracy import InaccurateError
from pyserini_tasb.encoding.export_graph import quantise
from pyserini_tasb.encoding.onnx_runtime import cached_export
from pyserini_tasb.encoding.outliers import TOKENS, best_divisors, divide_outliers, rounding_error, sample
from pyserini_tasb.models.onnx import INPUTS, read_about
from pyserini_tasb.recipes.types import EncoderCard
from tests.conftest import TINY_MODEL

TOKENS_OF_GRAPH, FEATURES, OUTPUTS = 100, 32, 16
OUTLIER = 5


def features(outlier=1.0, seed=0):
    """Normal ones [tokens, features], of which one is so many times as large."""
    values = np.random.default_rng(seed).standard_normal((TOKENS_OF_GRAPH, FEATURES)).astype(np.float32)
    values[:, OUTLIER] *= outlier
    return values


def matrix(seed=7):
    return np.random.default_rng(seed).standard_normal((FEATURES, OUTPUTS)).astype(np.float32)


@pytest.mark.parametrize("outlier", [30, 10_000])
def test_an_outlier_is_divided_and_nothing_is_multiplied(outlier):
    values, weights = features(outlier), matrix()
    weights[OUTLIER] /= outlier
    divisors = best_divisors(values, weights)
    assert divisors.min() == 1
    assert np.flatnonzero(divisors > 2).tolist() == [OUTLIER]
    exact = values @ weights
    before = rounding_error(values, weights, exact)
    after = rounding_error(values / divisors, weights * divisors[:, None], exact)
    assert after < before / 10


@pytest.mark.parametrize("values", [features(), 0 * features(), 1e-30 * features(), 0 * features() + 1])
def test_nothing_is_divided_without_gain(values):
    assert best_divisors(values.astype(np.float32), matrix()) is None


def write(path, tables, products):
    """A graph whose tokens are rows of tables, each of which is multiplied with some matrices.

    Args:
        path: where it goes.
        tables: name → rows.
        products: pairs of a table's and a matrix's name.
    """
    nodes = [helper.make_node("Gather", [f"table {name}", "input_ids"], [name]) for name in tables]
    nodes.append(helper.make_node("Identity", [INPUTS[1]], ["mask"]))
    matrices = {name: matrix(seed) for seed, name in enumerate(sorted({name for _, name in products}))}
    names = [f"{table} {name}" for table, name in products]
    nodes += [helper.make_node("MatMul", of, [name], name=name) for name, of in zip(names, products, strict=True)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "tokens"]) for name in INPUTS]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "tokens", OUTPUTS]) for name in names]
    values = {f"table {name}": rows for name, rows in tables.items()} | matrices
    initial = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


IDS = np.arange(TOKENS_OF_GRAPH)[None]


def computed(path):
    """The products of a graph for each token."""
    session = onnxruntime.InferenceSession(path)
    return [values[0] for values in session.run(None, {"input_ids": IDS, "attention_mask": np.ones_like(IDS)})]


def test_the_error_is_that_of_onnx_runtime(tmp_path):
    """Each token counts alike, however long it is."""
    values, weights = features(outlier=20), matrix(0)
    values[::2] *= 0.1
    write(tmp_path / "graph.onnx", {"states": values}, [("states", "a")])
    quantise(tmp_path / "graph.onnx", tmp_path / "int8.onnx", 8)
    (exact,), (rounded,) = computed(tmp_path / "graph.onnx"), computed(tmp_path / "int8.onnx")
    np.testing.assert_allclose(exact, values @ weights, rtol=1e-4, atol=1e-4)
    found = (np.square(rounded - exact).sum(axis=1) / np.square(exact).sum(axis=1)).mean()
    assert rounding_error(values, weights, exact) == pytest.approx(found, rel=0.02)


def test_products_in_fp32_stay(tmp_path):
    """All that multiplies an input gets the divided one; weights that two inputs share stay as they are."""
    tables = {"first": features(100, 1), "second": features(100, 2), "third": features(100, 3), "plain": features(1, 4)}
    products = [("first", "a"), ("first", "b"), ("second", "c"), ("third", "c"), ("plain", "d")]
    source, target = tmp_path / "graph.onnx", tmp_path / "divided.onnx"
    write(source, tables, products)
    assert divide_outliers(source, target, IDS) == 1
    read = {node.name: node.input[0] for node in onnx.load(target).graph.node if node.op_type == "MatMul"}
    assert read == {
        "first a": "first/divided", "first b": "first/divided", "second c": "second", "third c": "third",
        "plain d": "plain",
    }  # fmt: skip
    for expected, found in zip(computed(source), computed(target), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["divided.onnx", "graph.onnx"]


def test_a_sample_has_a_few_texts_cut():
    texts = [[1] * 300, [2] * 5] * 9
    cut = list(sample(texts))
    assert [len(text) for text in cut] == [128, 5] * 3 + [128]
    assert sum(map(len, cut[:-1])) < TOKENS <= sum(map(len, cut))
    assert list(sample([[7, 8]])) == [[7, 8]]


def with_outlier(folder):
    """The tiny model with one of the first layer's hidden features a thousand times as large, its weights as small."""
    shutil.copytree(TINY_MODEL, folder)
    model = AutoModel.from_pretrained(folder)
    layer = model.transformer.layer[0].ffn
    with torch.no_grad():
        layer.lin1.weight[OUTLIER] *= 1_000
        layer.lin2.weight[:, OUTLIER] /= 1_000
    model.save_pretrained(folder)
    return folder


def test_a_model_with_outliers_passes_in_int8(tmp_path, monkeypatch):
    card = EncoderCard(name="outlier", model=str(with_outlier(tmp_path / "model")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert read_about(cached_export(card, "int8")).accuracy.cosine_mean > 0.999
    monkeypatch.setattr(int8, "divide_outliers", lambda source, target, _: shutil.copy(source, target))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    with pytest.raises(InaccurateError) as refused:
        cached_export(card, "int8")
    assert refused.value.accuracy.cosine_mean < 0.9
