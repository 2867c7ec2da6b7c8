"""How fast this machine multiplies matrices: what no encoder can exceed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from measuring import Results

SIZE = 2_048
TRIALS = 7
ONNX_OPERATORS = 21


def gemm_peaks(threads: int, results: Results) -> dict[str, tuple[float, str]]:
    """Number format → the most operations a second (an addition counts as one, a multiplication, too), and by what.

    Formats that the processor does not multiply itself are skipped: a single product took minutes in bf16.
    """
    ways = _ways(threads)
    return {name: _best(ways[name]) for name in ways if results.multiplies(name, f"{name} GEMM peak")}


def _best(ways: dict[str, Callable[[], object]]) -> tuple[float, str]:
    found = []
    for name, multiply in ways.items():
        multiply()
        seconds = []
        for _ in range(TRIALS):
            start = time.perf_counter()
            multiply()
            seconds.append(time.perf_counter() - start)
        found.append((2 * SIZE**3 / min(seconds), name))
    return max(found)


def _ways(threads: int) -> dict[str, dict[str, Callable[[], object]]]:
    a, b = np.random.default_rng(0).standard_normal((2, SIZE, SIZE), dtype=np.float32)
    tensors = torch.from_numpy(a), torch.from_numpy(b)
    reduced = tensors[0].bfloat16(), tensors[1].bfloat16()
    a8, b8 = (a * 30).astype(np.int8), (b * 30).astype(np.int8)
    whole = torch.from_numpy(a8), torch.from_numpy(b8)
    single = _onnx("MatMul", onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT, b, threads)
    integer = _onnx("MatMulInteger", onnx.TensorProto.INT8, onnx.TensorProto.INT32, b8, threads)
    return {
        "fp32": {
            "NumPy": lambda: a @ b,
            "torch": lambda: tensors[0] @ tensors[1],
            "ONNX Runtime": lambda: single.run(None, {"a": a}),
        },
        "bf16": {"torch": lambda: reduced[0] @ reduced[1]},
        "int8": {
            "torch": lambda: torch._int_mm(*whole),  # noqa: SLF001 - torch multiplies int8 here only
            "ONNX Runtime": lambda: integer.run(None, {"a": a8}),
        },
    }


def _onnx(operator: str, given: int, result: int, weights: np.ndarray, threads: int) -> onnxruntime.InferenceSession:
    """One multiplication by constant weights, as a layer of a model has it."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["a", "b"], ["c"])],
        "gemm",
        [onnx.helper.make_tensor_value_info("a", given, [SIZE, SIZE])],
        [onnx.helper.make_tensor_value_info("c", result, [SIZE, SIZE])],
        [onnx.numpy_helper.from_array(weights, "b")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", ONNX_OPERATORS)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
