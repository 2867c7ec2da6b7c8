"""Passages a second on a GPU, the share of what it multiplies at most, and vectors beside those of the CPU.

    python benchmarks/gpu/encoding_speed.py --passages collection.tsv
    python benchmarks/gpu/encoding_speed.py --quick --size tiny

The passages are those of a file (id TAB text), each repeated ten times, or CACM's. Four ways are measured: the
tokenizer by itself, the model on tokens, in fp32 and bf16, and the whole pipeline of `tasb encode`, which reads,
tokenises ahead, encodes and writes. Its start-up is the time that it takes for a single passage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checkout  # noqa: F401 - before the imports of ours
import numpy as np
import torch
from measuring import Options, Results, seconds_of
from model_files import add_model_options, found_device, model_to_measure, padding, synchronize
from real_texts import passages
from settings import encoder_card

from pyserini_tasb.encoding.corpus import encode_corpus
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.job import EncodeJob
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.models.backends import compute_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COLUMNS = {
    "passages/s": ",.0f",
    "seconds": ".2f",
    "TFLOP/s": ".1f",
    "% of the peak": ".1f",
    "least cosine": ".6f",
    "GiB": ".2f",
}
LEAST_COSINE = 0.9999
FP32_EVERY = 4  # it is slow, and less of interest
TRIALS = 7


def main() -> int:
    """Measure, write after each row."""
    parser = Options(
        __file__,
        __doc__,
        quick={"texts": 100, "repeat": 2, "compared": 16, "matrix": 256, "size": "tiny", "no_start_up": True},
    )
    add_model_options(parser)
    parser.add_argument("--passages", type=Path, help="id TAB text; default: CACM's abstracts")
    parser.add_argument("--texts", type=int, default=8_000, help="passages read at most (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=10, help="times that each is encoded (default: %(default)s)")
    parser.add_argument("--compared", type=int, default=128, help="passages encoded on the CPU (default: %(default)s)")
    parser.add_argument("--matrix", type=int, default=8_192, help="rows of the peak's matrices (default: %(default)s)")
    parser.add_argument("--no-start-up", action="store_true", help="run the pipeline in this process, loaded and warm")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return run_pipeline(**json.loads(arguments.child))
    device = found_device(arguments.device)
    results = Results(arguments, COLUMNS)
    texts = passages(arguments.passages, arguments.texts)
    with model_to_measure(arguments, texts) as (model, folder):
        measure(arguments, device, model, folder, texts, results)
    return results.finish()


def measure(
    arguments: argparse.Namespace, device: str, model: Path, folder: Path, texts: list[str], results: Results
) -> None:
    """Add all rows."""
    card = encoder_card(model)
    precisions = {"fp32": torch.float32, "bf16": compute_type("bf16", device)}
    if precisions["bf16"] is not torch.bfloat16:
        results.skip("bf16", f"{device} has no fast bf16")
        del precisions["bf16"]
    peaks = {name: peak(kind, arguments.matrix, device) for name, kind in precisions.items()}
    results.rows |= {f"GEMM {name}": {"TFLOP/s": found / 1e12, "% of the peak": 100.0} for name, found in peaks.items()}
    results.write()
    expected = plain_vectors(model, texts[: arguments.compared], card.passage_max_length)
    repeated = texts * arguments.repeat
    token_ids: list[list[int]] = []
    for name in precisions:
        encoder = TextEncoder(card.model_copy(update={"precision": name}), device, backend="torch")
        if not token_ids:
            token_ids = add_tokenizer(encoder, repeated, card.passage_max_length, results)
        found = encoder.encode(texts[: arguments.compared], max_length=card.passage_max_length)
        some = token_ids[::FP32_EVERY] if name == "fp32" else token_ids
        results.rows[f"tokens to vectors, {name}"] = {
            **speed(encoder, some, device, peaks[name], model),
            "least cosine": least_cosine(found, expected),
        }
        results.write()
        del encoder
    add_padded(card, device, list(precisions)[-1], token_ids, results)
    cosine = float(results.rows["tokens to vectors, fp32"]["least cosine"])
    results.floor("fp32 vectors beside the CPU's, least cosine", cosine, least=LEAST_COSINE)
    add_onnxruntime(card, device, token_ids, expected, texts[: arguments.compared], results)
    add_pipeline(card, device, list(precisions)[-1], folder, repeated, results, alone=not arguments.no_start_up)


def peak(kind: torch.dtype, size: int, device: str) -> float:
    """The most operations a second in products of square matrices: an addition is one, a multiplication another."""
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))

    def multiply() -> None:
        left @ right
        synchronize(device)

    multiply()
    return 2 * size**3 / min(seconds_of(multiply) for _ in range(TRIALS))


def plain_vectors(model: Path, texts: Sequence[str], max_length: int) -> NDArray[np.float32]:
    """First tokens' vectors [texts, dimension] as transformers computes them, on the CPU in fp32."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, transformer = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            some = list(texts[start : start + 32])
            batch = tokenizer(some, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
            found.append(transformer(batch["input_ids"], batch["attention_mask"]).last_hidden_state[:, 0].numpy())
    return np.concatenate(found)


def least_cosine(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The least cosine of two vectors of one text."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def add_tokenizer(encoder: TextEncoder, texts: list[str], max_length: int, results: Results) -> list[list[int]]:
    """A row of the tokenizer, which uses all cores; the token ids of all texts."""
    start = time.perf_counter()
    token_ids: list[list[int]] = encoder.tokenizer(
        texts, truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    seconds = time.perf_counter() - start
    results.rows["texts to tokens"] = {"passages/s": len(texts) / seconds, "seconds": seconds}
    average = sum(map(len, token_ids)) / len(token_ids)
    results.note(f"{len(texts):,} passages of {average:.1f} tokens on average")
    return token_ids


def speed(encoder: TextEncoder, token_ids: list[list[int]], device: str, most: float, model: Path) -> dict[str, float]:
    """Passages a second after a warm-up with some 2,000 of them, and the share of the peak."""
    from transformers import AutoConfig

    encoder.encode_tokens(token_ids[:: max(1, len(token_ids) // 2_000)])
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = seconds_of(lambda: encoder.encode_tokens(token_ids))
    rate = operations(AutoConfig.from_pretrained(model), [len(ids) for ids in token_ids]) / seconds
    memory = {"GiB": torch.cuda.max_memory_allocated(device) / 2**30} if on_gpu else {}
    return {
        "passages/s": len(token_ids) / seconds,
        "seconds": seconds,
        "TFLOP/s": rate / 1e12,
        "% of the peak": 100 * rate / most,
        **memory,
    }


def add_padded(card: Any, device: str, precision: str, token_ids: list[list[int]], results: Results) -> None:
    """A row of the model on tokens with their padding, which a GPU in half precision leaves out otherwise."""
    if torch.device(device).type != "cuda" or precision == "fp32":
        results.skip("with padding", "only a GPU packs texts, and not in fp32")
        return
    with padding():
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), device, backend="torch")
        encoder.encode_tokens(token_ids[:: max(1, len(token_ids) // 2_000)])
    seconds = seconds_of(lambda: encoder.encode_tokens(token_ids))
    row = {"passages/s": len(token_ids) / seconds, "seconds": seconds}
    results.rows[f"tokens to vectors, {precision}, with padding"] = row
    results.write()


def operations(config: Any, lengths: Sequence[int]) -> float:
    """The operations that these texts need in products of matrices, without padding.

    The last layer needs only the first token's queries, output and feed-forward network.

    Args:
        config: of a BERT or a DistilBERT.
        lengths: tokens of each text.
    """
    d, layers = config.hidden_size, config.num_hidden_layers
    wide = getattr(config, "hidden_dim", None) or config.intermediate_size
    tokens, squares, texts = sum(lengths), sum(length**2 for length in lengths), len(lengths)
    whole = 2 * tokens * (4 * d * d + 2 * d * wide) + 4 * squares * d
    last = 2 * tokens * 2 * d * d + 2 * texts * (2 * d * d + 2 * d * wide) + 4 * tokens * d
    return float((layers - 1) * whole + last)


def add_onnxruntime(
    card: Any,
    device: str,
    token_ids: list[list[int]],
    expected: NDArray[np.float32],
    texts: list[str],
    results: Results,
) -> None:
    """A row of ONNX Runtime, if it is installed with all that an export needs."""
    what = "ONNX Runtime"
    if not all(results.has(package, what, "onnx") for package in ("onnxruntime", "onnx", "onnxscript", "pydantic")):
        return
    import onnxruntime

    if device.startswith("cuda") and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        results.skip(what, "this onnxruntime is a build for the CPU (docs/gpu.md)")
        return
    from pyserini_tasb.encoding.export_accuracy import InaccurateError
    from pyserini_tasb.recipes.types import EncoderCard

    try:
        encoder = TextEncoder(EncoderCard.model_validate(card.values), device, backend="onnx")
    except InaccurateError as error:  # random weights make nearly equal vectors, whose order rounding changes
        results.skip(what, f"its export is refused: {error.found}; give --model")
        return
    (provider, *_) = encoder._models.at("fp32")._graph._session.get_providers()  # noqa: SLF001 - nothing else tells
    wanted = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider != wanted:
        results.skip(what, f"it computes with {provider}, not with {wanted}")
        return
    encoder.encode_tokens(token_ids[:64])
    some = token_ids[: len(token_ids) // 4]
    seconds = seconds_of(lambda: encoder.encode_tokens(some))
    found = encoder.encode(texts, max_length=card.passage_max_length)
    results.rows[f"tokens to vectors, ONNX Runtime fp32 ({provider})"] = {
        "passages/s": len(some) / seconds,
        "seconds": seconds,
        "least cosine": least_cosine(found, expected),
    }
    results.write()


def add_pipeline(
    card: Any, device: str, precision: str, folder: Path, texts: list[str], results: Results, *, alone: bool
) -> None:
    """A row of the pipeline of `tasb encode`; with `alone`, in processes of its own, and a row of its start-up."""

    def seconds(name: str, some: list[str]) -> float:
        corpus = folder / f"{name}.tsv"
        corpus.write_text("".join(f"{number}\t{text}\n" for number, text in enumerate(some)), encoding="utf-8")
        given = {
            "card": card.values | {"precision": precision},
            "corpus": str(corpus),
            "output": str(folder / name),
            "device": device,
        }
        command = [sys.executable, __file__, "--child", json.dumps(given)]
        return seconds_of(lambda: subprocess.run(command, check=True) if alone else run_pipeline(**given))

    start_up = 0.0
    if alone:
        start_up = seconds("one", texts[:1])
        results.rows["tasb encode: start-up"] = {"seconds": start_up}
        results.write()
    rest = max(seconds("all", texts) - start_up, 1e-9)
    results.rows[f"tasb encode, {precision}, after its start-up"] = {
        "passages/s": len(texts) / rest,
        "seconds": rest,
    }


def run_pipeline(card: dict[str, Any], corpus: str, output: str, device: str) -> int:
    """Encode as `tasb encode` does, in a process of its own."""
    made = encoder_card(**card)
    job = EncodeJob(
        encoder="measured",
        card=made,
        card_digest="measured",
        kind="passage",
        corpus=(corpus,),
        fields=Fields(),
        output=Path(output),
        max_length=None,
        precision=made.precision,
        dtype="float16",
        device=device,
        backend="torch",
    )
    encode_corpus(job)
    return 0


if __name__ == "__main__":
    sys.exit(main())
