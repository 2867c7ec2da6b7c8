"""A graph whose matrices are int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.encode.export.graph import quiet

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.encode.backends.machine import WeightBits

# Where the time goes. Embeddings are looked up, not multiplied: int8 would make them smaller and worse, not faster.
QUANTISED = ["Attention", "MatMul"]


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
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            reduce_range=weight_bits == 7,
            weight_type=QuantType.QInt8,
            # Of what fused operators give, which ONNX's own inference of types does not know.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
