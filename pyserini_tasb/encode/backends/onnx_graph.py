"""A graph of `tasb export` in ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.encode.backends.machine import threads
from pyserini_tasb.encode.backends.onnx_folder import INPUTS, OUTPUT
from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# Enough to keep the hardware busy, small enough that texts of one batch are of one length.
TOKENS_PER_BATCH = {"cpu": 2_048, "cuda": 65_536}


class OnnxGraph:
    """Vectors by ONNX Runtime. Calls from several threads do not disturb each other.

    Args:
        path: of the graph, which is optimised already.
        device: `cpu`, `cuda:0`, …

    Raises:
        TasbError: no graph, a damaged one, or a GPU that this ONNX Runtime cannot use.
    """

    def __init__(self, path: Path, device: str) -> None:
        import onnxruntime

        providers = _providers(device)
        self.tokens_per_batch = TOKENS_PER_BATCH[device.partition(":")[0]]
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its classes have no common base but this
            raise TasbError(
                where=str(path),
                expected="a model that ONNX Runtime can read",
                found=str(error).strip().partition("\n")[0],
                do="remove the folder and export the model again",
            ) from error

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens], padded on the right."""
        vectors: NDArray[np.float32] = self._session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return vectors


def has_gpu() -> bool:
    """Whether this ONNX Runtime is built for CUDA."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _providers(device: str) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not has_gpu():
        raise TasbError(
            expected=f"an ONNX Runtime that computes on `{device}`",
            found="one without CUDA",
            do="take `cpu` for a device or `torch` for a back end, or see docs/gpu.md",
        )
    # Not run here: no GPU on the machine that wrote this.
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
