"""Outlier features of a graph's products made smaller before int8 rounds them, with exactly the same product.

int8 has one scale for all that is multiplied with a matrix. In many transformers a few features are tens of times as
large as all others (Dettmers et al., NeurIPS 2022), and the scale that has room for them leaves few steps for the
others. So these features are divided, and their rows of the matrix multiplied, as SmoothQuant does (Xiao et al., ICML
2023). Unlike there, only features above a limit are divided, down to it, and none is multiplied: one that is small in a
sample of texts can be large in the next one. Each product has a limit of its own: of some, the one that rounds with the
least error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encoding.export_graph import MULTIPLIED
from pyserini_tasb.models.onnx import INPUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


# What a sample of texts is cut to.
TOKENS_OF_TEXT, TOKENS = 128, 512
# Limits, as shares of the largest feature, tried in turn until the error has grown to `RISE` times the least. (It stays
# the same at first if an outlier is so large that all other features are rounded to nothing.)
LIMITS = tuple(2.0**-power for power in range(1, 11))
RISE = 1.5
# Features are divided where this leaves at most such a share of the squared error: each division takes a little time.
WORTH = 0.5


def divide_outliers(source: Path, target: Path, texts: Iterable[Sequence[int]]) -> int:
    """Write a graph that divides outlier features, by an operator before each product that gains by it.

    Args:
        source: a fused graph in fp32.
        target: where the graph goes, also if it is the same.
        texts: token ids of some; about 500 tokens are read.

    Returns:
        How many products' inputs are divided.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(source))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    products = _products(model.graph, weights)
    features = _features(model, list(products), sample(texts), target.with_name("features.onnx"))
    divided = 0
    for name, product in products.items():
        matrices = [numpy_helper.to_array(weights[matrix]) for matrix in product.matrices]
        divisors = best_divisors(features.pop(name), np.hstack(matrices))
        if divisors is None:
            continue
        divided += 1
        for matrix, values in zip(product.matrices, matrices, strict=True):
            weights[matrix].CopyFrom(numpy_helper.from_array(values * divisors[:, None], matrix))
        model.graph.initializer.append(numpy_helper.from_array(1 / divisors, f"{name}/divisors"))
        division = helper.make_node("Mul", [name, f"{name}/divisors"], [f"{name}/divided"], name=f"{name}/division")
        model.graph.node.insert(list(model.graph.node).index(product.nodes[0]), division)
        for node in product.nodes:
            node.input[0] = f"{name}/divided"
    onnx.save(model, str(target))
    return divided


@dataclass
class _Product:
    """All that multiplies one input: queries, keys and values share theirs.

    Attributes:
        nodes: the nodes, in the order of the graph.
        matrices: the names of their weights.
    """

    nodes: list[Any] = field(default_factory=list)
    matrices: list[str] = field(default_factory=list)


def _products(graph: Any, weights: dict[str, Any]) -> dict[str, _Product]:
    """The name of an input → what multiplies it. Weights that several inputs share, as ALBERT's layers do, are out."""
    products: dict[str, _Product] = {}
    inputs: dict[str, set[str]] = {}
    for node in graph.node:
        if node.op_type in MULTIPLIED and node.input[1] in weights:
            product = products.setdefault(node.input[0], _Product())
            product.nodes.append(node)
            product.matrices.append(node.input[1])
            inputs.setdefault(node.input[1], set()).add(node.input[0])
    shared = {name for of in inputs.values() if len(of) > 1 for name in of}
    return {name: product for name, product in products.items() if name not in shared}


def sample(texts: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
    """The first texts, cut to `TOKENS_OF_TEXT` tokens, until there are `TOKENS`."""
    read = 0
    for text in texts:
        cut = text[:TOKENS_OF_TEXT]
        yield cut
        read += len(cut)
        if read >= TOKENS:
            break


def _features(
    model: Any, names: list[str], texts: Iterable[Sequence[int]], path: Path
) -> dict[str, NDArray[np.float32]]:
    """Name of a tensor → its values [tokens, features] for some texts; `path` is written and removed."""
    import onnx
    import onnxruntime

    also: list[Any] = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
    model.graph.output.extend(also)
    onnx.save(model, str(path))
    del model.graph.output[-len(also) :]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for text in texts:
        ids = np.array([text], np.int64)
        computed = session.run(names, dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True)))
        for name, values in zip(names, computed, strict=True):
            found[name].append(values.reshape(-1, values.shape[-1]))
    del session
    path.unlink()
    return {name: np.vstack(values) for name, values in found.items()}


def best_divisors(features: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Divisors of features, 1 or more, that leave the least error of the product in int8; None if it gains little.

    Args:
        features: values of a sample [tokens, features].
        matrix: what they are multiplied with [features, outputs].
    """
    largest = np.abs(features).max(axis=0)
    exact = features @ matrix
    error = undivided = rounding_error(features, matrix, exact)
    best = np.ones_like(largest)
    for limit in LIMITS:
        divisors = np.maximum(1, largest / max(limit * largest.max(), np.finfo(np.float32).tiny))
        found = rounding_error(features / divisors, matrix * divisors[:, None], exact)
        if found < error:
            error, best = found, divisors
        elif found > RISE * error:
            break
    return best if error < WORTH * undivided else None


def rounding_error(features: NDArray[np.float32], matrix: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """The squared error of a product in int8 as ONNX Runtime rounds it, beside each token's own length: their mean.

    Tokens count alike, as what follows normalises each: otherwise the few that are far longer would decide.

    Args:
        features: [tokens, features].
        matrix: [features, outputs].
        exact: their product, in fp32.
    """
    low, high = min(float(features.min()), 0), max(float(features.max()), 0)
    rounded = _rounded(features, (high - low) / 255) @ _rounded(matrix, np.abs(matrix).max(axis=0) / 127)
    lengths = np.maximum(np.square(exact).sum(axis=1), np.finfo(np.float32).tiny)
    return float((np.square(rounded - exact).sum(axis=1) / lengths).mean())


def _rounded(values: NDArray[np.float32], step: Any) -> NDArray[np.float32]:
    """Values in whole steps, of one size or of one for each column."""
    step = np.where(np.asarray(step) > 0, step, 1).astype(np.float32)
    rounded: NDArray[np.float32] = np.rint(values / step) * step
    return rounded
