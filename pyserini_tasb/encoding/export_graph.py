"""A model of torch as one fused, optimised graph, and the same graph with int8 matrices."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.onnx import INPUTS, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyserini_tasb.environment.processor import WeightBits
    from pyserini_tasb.models.bert_dot import BertDot


PACKAGES = ("onnx", "onnxscript")
OPSET = 17
MOST_BYTES = 2**31 - 2**24  # of weights in one file: a limit of protobuf
# Where the time goes. Embeddings are looked up, not multiplied: int8 would make them smaller and worse, not faster.
MULTIPLIED = ("Attention", "MatMul")
"""Operators of a fused graph that multiply with a matrix of weights, their second input."""


def missing_packages() -> list[str]:
    """The packages for exports that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def require_packages() -> None:
    """Check that an export can be made.

    Raises:
        TasbError: saying what to install.
    """
    missing = missing_packages()
    if missing:
        raise TasbError(
            expected=f"the packages {' and '.join(PACKAGES)}, to export a model",
            found=f"no {' and no '.join(missing)}",
            do="pip install 'pyserini-tasb[onnx]' (the exported model itself does not need them)",
        )


def trace(model: BertDot, path: Path) -> None:
    """Write a model's graph, pooling and normalisation in it, for any number of texts of any length.

    Raises:
        TasbError: a model too large for one file.
    """
    import torch

    size = sum(weights.numel() * 4 for weights in model.parameters())
    if size > MOST_BYTES:
        raise TasbError(
            expected=f"at most {MOST_BYTES / 1e9:.1f} GB of weights in fp32, for one ONNX file",
            found=f"{size / 1e9:.1f} GB",
            do="use this model with the back end `torch`: it cannot be exported",
        )
    # Fusion recognises attention that is written out, not the one operator that torch has for it.
    model.transformer.set_attn_implementation("eager")
    ids = torch.ones((2, 8), dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    texts_and_tokens = {0: "texts", 1: "tokens"}
    with torch.no_grad(), quiet():
        torch.onnx.export(
            model,
            (ids, mask),
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={**dict.fromkeys(INPUTS, texts_and_tokens), OUTPUT: {0: "texts"}},
            opset_version=OPSET,
            # torch's newer exporter takes thirty times as long, and in what it writes ONNX Runtime 1.31 recognises no
            # attention (run with torch 2.13).
            dynamo=False,
        )


def fuse(source: Path, target: Path, *, heads: int, hidden: int) -> int:
    """Join attention, layer norms and activations into ONNX Runtime's own operators.

    Args:
        source: the graph.
        target: where the fused one goes.
        heads: the number of attention heads.
        hidden: length of a token's vector.

    Returns:
        How many layers' attention was fused.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    with quiet():
        fused = optimize_model(
            str(source),
            "bert",
            num_heads=heads,
            hidden_size=hidden,
            optimization_options=FusionOptions("bert"),
            opt_level=0,
        )
        statistics = fused.get_fused_operator_statistics()
        fused.save_model_to_file(str(target))
    return int(statistics["Attention"]) + int(statistics["MultiHeadAttention"])


def quantise(source: Path, target: Path, weight_bits: WeightBits) -> None:
    """Round weights to int8, with a scale for each column; what they are multiplied by is rounded batch by batch.

    So a text's vector depends a little on which texts are beside it.

    Args:
        source: a fused graph.
        target: where the quantised one goes.
        weight_bits: 7 for CPUs whose products of 8 bits saturate.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=list(MULTIPLIED),
            per_channel=True,
            reduce_range=weight_bits == 7,
            weight_type=QuantType.QInt8,
            # Of what fused operators give, which ONNX's own inference of types does not know.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


def optimise(source: Path, target: Path) -> None:
    """Write the graph as ONNX Runtime optimises it when it loads one, so that no start has to do it again."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One level below `ALL`, which would make the graph one for this machine's CPU.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3  # errors: it warns that a saved graph is for this kind of machine
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters' warnings from the user, who can do nothing about them, and the root logger as it was."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers  # the quantiser's `logging.warning` adds one
