"""Other programs that compute the same vectors: Pyserini's, sentence-transformers, OpenVINO, plain ONNX Runtime.

Pyserini gets texts as it always does. All others get ours: the same token ids or texts, cut at the same length, in the
same batches of texts of similar length.
"""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyserini_tasb.environment.java import ensure_java
from pyserini_tasb.environment.processor import int8_products_saturate, threads
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.models.queues import vectors_by_length
from pyserini_tasb.models.tokenizers import batches_by_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from measuring import Results
    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TextEncoder
    from pyserini_tasb.recipes.types import EncoderCard

    Encode = Callable[[Sequence[str]], NDArray[np.float32]]

PYSERINI_BATCH = 64  # its default


def pyserini_passages(card: EncoderCard, max_length: int) -> Encode:
    """Pyserini's AutoDocumentEncoder, in its own batches: in the order of the texts."""
    ensure_java()
    from pyserini.encode import AutoDocumentEncoder

    encoder = AutoDocumentEncoder(str(find_checkpoint(card.model)), device="cpu", pooling=card.pooling)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        starts = range(0, len(texts), PYSERINI_BATCH)
        return np.vstack([encoder.encode(texts[at : at + PYSERINI_BATCH], max_length=max_length) for at in starts])

    return encode


def pyserini_queries(card: EncoderCard) -> Encode:
    """Pyserini's AutoQueryEncoder, which encodes queries one by one, however many there are."""
    ensure_java()
    from pyserini.encode import AutoQueryEncoder

    encoder = AutoQueryEncoder(encoder_dir=str(find_checkpoint(card.model)), device="cpu", pooling=card.pooling)
    return lambda texts: np.vstack([encoder.encode(text) for text in texts])


def other_libraries(card: EncoderCard, ours: TextEncoder, max_length: int, results: Results) -> dict[str, Encode]:
    """Name → how it encodes, of each library that is installed; what is not is said.

    Args:
        ours: the encoder whose tokenizer and batches they get.
        max_length: tokens kept of a text.
    """
    found: dict[str, Encode] = {}
    if results.has("sentence_transformers", "sentence-transformers"):
        found["sentence-transformers torch"] = sentence_transformers(card, ours, max_length, "torch")
        if results.has("optimum.onnxruntime", "sentence-transformers onnx", "bench-optimum"):
            found["sentence-transformers onnx"] = sentence_transformers(card, ours, max_length, "onnx")
    if results.has("openvino", "OpenVINO"):
        precisions = {"fp32": "f32", "bf16": "bf16"}
        if not results.multiplies("bf16", "OpenVINO bf16"):
            del precisions["bf16"]
        found |= openvino(card, ours, max_length, precisions)
    if card.pooling == "cls":
        found["plain ONNX Runtime int8"] = plain_int8(card, ours, max_length)
    return found


def sentence_transformers(card: EncoderCard, ours: TextEncoder, max_length: int, backend: Any) -> Encode:
    """sentence-transformers with one of its back ends."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    transformer = Transformer(str(find_checkpoint(card.model)), max_seq_length=max_length, backend=backend)
    # BERT's tokenizer names segments, which DistilBERT does not take.
    taken, tokenizer = inspect.signature(transformer.auto_model.forward).parameters, transformer.tokenizer
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in taken]
    pooling = Pooling(ours.dimension, pooling_mode=card.pooling)
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), ours.dimension), np.float32)
        lengths = [len(ids) for ids in token_ids(ours, texts, max_length)]
        for batch in batches_by_length(lengths, ours.tokens_per_batch()):
            chosen = [texts[position] for position in batch]
            vectors[batch] = model.encode(chosen, batch_size=len(batch), show_progress_bar=False)
        return vectors

    return encode


def openvino(card: EncoderCard, ours: TextEncoder, max_length: int, precisions: dict[str, str]) -> dict[str, Encode]:
    """OpenVINO, of the model as transformers has it, in each of these precisions (ours → OpenVINO's name)."""
    import openvino as ov
    from transformers import AutoModel

    model = AutoModel.from_pretrained(find_checkpoint(card.model), attn_implementation="eager").eval()
    example = torch.ones((2, 16), dtype=torch.int64)

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]
            if card.pooling == "cls":
                return states[:, 0]
            weights = attention_mask[..., None].to(states.dtype)
            return (states * weights).sum(1) / weights.sum(1)

    with torch.no_grad():
        graph = ov.convert_model(Pooled(), example_input={"input_ids": example, "attention_mask": example})
    # Without the hints it computes in bf16 where the processor can, and divides the cores into streams.
    found = {}
    for name, hint in precisions.items():
        hints = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = ov.Core().compile_model(graph, "CPU", hints)
        found[f"OpenVINO {name}"] = in_our_batches(compiled, ours, max_length)
    return found


def in_our_batches(compiled: Any, ours: TextEncoder, max_length: int) -> Encode:
    """Encode by a function of ids and mask [texts, tokens] whose first result is vectors [texts, dimension]."""

    class Compiled:
        tokens_per_batch = ours.tokens_per_batch()

        def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
            vectors: NDArray[np.float32] = compiled([ids, mask])[0]
            return vectors

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        ids = token_ids(ours, texts, max_length)
        return vectors_by_length(Compiled(), ids, pad_id=ours.pad_id, dimension=ours.dimension)

    return encode


def plain_int8(card: EncoderCard, ours: TextEncoder, max_length: int) -> Encode:
    """The model as ONNX Runtime's own quantiser makes it, with weights of 7 bits where those of 8 saturate."""
    from plain_onnx import PlainInt8

    with tempfile.TemporaryDirectory() as folder:  # the session has read it
        path = Path(folder, "model.onnx")
        graph = PlainInt8(find_checkpoint(card.model), path, reduce_range=int8_products_saturate())

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        ids = token_ids(ours, texts, max_length)
        return vectors_by_length(graph, ids, pad_id=ours.pad_id, dimension=ours.dimension)

    return encode


def token_ids(ours: TextEncoder, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """The ids of each text, special tokens included, without padding."""
    found: list[list[int]] = ours.tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    return found
