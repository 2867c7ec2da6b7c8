"""Passages a second of each back end beside Pyserini's AutoDocumentEncoder; exits with 1 below a floor.

    python benchmarks/encode.py --corpus collection.tsv

Real passages, a model of DistilBERT's size, all in one process with the same threads, by turns; of the ratios to
Pyserini in the same round the median counts. Pyserini gets its own batches of 64 in the order of the file, ours what
`tasb encode` gives: all at once. Who asks for a precision gets it or a better one, whichever is faster here, and so a
floor is met by the fastest that is no less accurate. Needs `pip install -e '.[demo,onnx]'`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gemm import gemm_peaks
from random_distilbert import model_to_measure

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.environment.java import ensure_java
from pyserini_tasb.environment.processor import cpu_has_int8, threads
from pyserini_tasb.models.backends import ACCURACY, cpu_has_bf16
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Encode = Callable[[list[str]], NDArray[np.float32]]


MAX_LENGTH = 256  # Pyserini's default
PYSERINI_BATCH = 64  # its default, too
# Times Pyserini's speed, and the least cosine with Pyserini's vectors; where the CPU has the instructions.
FLOORS = {"fp32": (5.0, 0.99999), "bf16": (9.0, 0.9999), "int8": (12.0, None)}
OURS = (("torch", "fp32"), ("onnx", "fp32"), ("torch", "bf16"), ("onnx", "int8"))


def main() -> int:
    """Measure by turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="pid TAB text")
    parser.add_argument("--passages", type=int, default=512, help="spread over the collection (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--model", help="what --encoder takes; default: random weights of DistilBERT's size")
    parser.add_argument("--output", type=Path, default=Path("encode.json"), help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    with model_to_measure(arguments.model) as model:
        passages = sample(arguments.corpus, arguments.passages)
        result = measure(model, passages, arguments.rounds)
    return report(result, arguments.output)


def sample(collection: Path, count: int) -> list[str]:
    """Passages in regular distances."""
    with collection.open(encoding="utf-8") as file:
        lines = sum(1 for _ in file)
        file.seek(0)
        rows = itertools.islice(file, 0, None, max(1, lines // count))
        return [row.rstrip("\n").partition("\t")[2] for row in itertools.islice(rows, count)]


def measure(name: str, passages: list[str], rounds: int) -> dict[str, Any]:
    """Seconds of each way and round, and how near its vectors are to Pyserini's."""
    card = encoder_card(name)
    ways: dict[str, Encode] = {"Pyserini": pyserini_encoder(str(find_checkpoint(card.model)), card.pooling)}
    for backend, precision in OURS:
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), "cpu", backend=backend)
        if encoder.computes() == f"{backend} {precision}":
            ways[f"{backend} {precision}"] = lambda texts, encoder=encoder: encoder.encode(texts, max_length=MAX_LENGTH)
    peaks = gemm_peaks(threads())
    tokens = token_counts(encoder, passages)
    expected = ways["Pyserini"](passages)
    cosines = {way: cosine(encode(passages), expected) for way, encode in ways.items()}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, encode in ways.items():
            start = time.perf_counter()
            encode(passages)
            seconds[way].append(time.perf_counter() - start)
    between = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    return {
        "model": name,
        "passages": len(passages),
        "threads": threads(),
        "tokens": sum(tokens),
        "operations": sum(operations(card.model, count) for count in tokens),
        "seconds": seconds,
        "cosines": cosines,
        "cosine_of_different_passages": float(np.mean((between @ between.T)[~np.eye(len(between), dtype=bool)])),
        "gemm": peaks,
    }


def pyserini_encoder(folder: str, pooling: str) -> Encode:
    """Pyserini's own, in its own batches."""
    ensure_java()
    from pyserini.encode import AutoDocumentEncoder

    encoder = AutoDocumentEncoder(folder, device="cpu", pooling=pooling)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        starts = range(0, len(texts), PYSERINI_BATCH)
        return np.vstack([encoder.encode(texts[at : at + PYSERINI_BATCH], max_length=MAX_LENGTH) for at in starts])

    return encode


def token_counts(encoder: TextEncoder, passages: list[str]) -> list[int]:
    """Tokens of each passage, without padding."""
    return [len(ids) for ids in encoder.tokenizer(passages, truncation=True, max_length=MAX_LENGTH)["input_ids"]]


def operations(model: str, tokens: int) -> float:
    """That the model's matrix multiplications need for a passage: 2 a weight and token, and attention's."""
    config = json.loads((find_checkpoint(model) / "config.json").read_text())
    layers, size = config.get("n_layers") or config["num_hidden_layers"], config.get("dim") or config["hidden_size"]
    inner = config.get("hidden_dim") or config["intermediate_size"]
    return layers * (2 * tokens * (4 * size**2 + 2 * size * inner) + 4 * tokens**2 * size)


def cosine(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The least of all passages."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def report(result: dict[str, Any], output: Path) -> int:
    """Print it; 1 if a floor is not reached."""
    result["missed"] = []
    print(
        f"{result['passages']} passages, {result['tokens'] / result['passages']:.0f} tokens on average, "
        f"{result['threads']} threads, {result['model']}"
    )
    print(f"{'':14} {'passages/s':>10} {'times Pyserini':>20} {'least cosine':>13} {'of GEMM peak':>13}")
    best: dict[str, tuple[float, float]] = {}
    for way, seconds in result["seconds"].items():
        precision = way.rpartition(" ")[2] if " " in way else "fp32"
        ratios = [ours / own for ours, own in zip(result["seconds"]["Pyserini"], seconds, strict=True)]
        ratio, median = statistics.median(ratios), statistics.median(seconds)
        share = result["operations"] / median / result["gemm"][precision][0]
        print(
            f"{way:14} {result['passages'] / median:10.1f} {ratio:8.2f} ({min(ratios):.2f}-{max(ratios):.2f}) "
            f"{result['cosines'][way]:12.6f} {share:12.0%}"
        )
        if way != "Pyserini":
            for asked in (name for name in FLOORS if ACCURACY[name] <= ACCURACY[precision]):
                best[asked] = max(best.get(asked, (0.0, 0.0)), (ratio, result["cosines"][way]))
    peaks = ", ".join(f"{name} {peak / 1e9:.0f} ({by})" for name, (peak, by) in result["gemm"].items())
    print(f"GEMM peak, 10^9 operations a second: {peaks}")
    at_peak = statistics.median(result["seconds"]["Pyserini"]) * result["gemm"]["fp32"][0] / result["operations"]
    print(f"At the fp32 peak, all the model's multiplications would be {at_peak:.2f} times as fast as Pyserini.")
    print(f"cosine of different passages: {result['cosine_of_different_passages']:.3f} on average")
    if cpu_has_bf16() and cpu_has_int8():
        for precision, (times, least) in FLOORS.items():
            ratio, agreement = best.get(precision, (0.0, 0.0))
            if ratio < times or (least is not None and agreement < least):
                result["missed"].append(precision)
                print(f"MISSED: {precision} {ratio:.2f} times at {agreement:.6f}; wanted {times:.0f} at {least}")
    output.write_text(json.dumps(result, indent=1) + "\n")
    return int(bool(result["missed"]))


if __name__ == "__main__":
    sys.exit(main())
