"""Passages a second of each back end beside Pyserini's AutoDocumentEncoder and others; exits with 1 below a floor.

    python benchmarks/encode.py --quick
    python benchmarks/encode.py --corpus collection.tsv

Real passages, a model of DistilBERT's size, all in one process with the same threads, by turns; of the ratios to
Pyserini in the same round the median counts. Pyserini gets its own batches of 64 in the order of the file, ours what
`tasb encode` gives: all at once. sentence-transformers and OpenVINO get our batches (benchmarks/peers.py). Who asks
for a precision gets it or a better one, whichever is faster here, and so a floor is met by the fastest of ours that is
no less accurate. Needs `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gemm import gemm_peaks
from measuring import Options, Results, by_turns, times
from peers import other_libraries, pyserini_passages, token_ids
from random_distilbert import model_to_measure
from real_texts import add_text_options, passages

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.environment.processor import cpu_has_amx, threads
from pyserini_tasb.models.backends import ACCURACY
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from peers import Encode

MAX_LENGTH = 256  # Pyserini's default
# Times Pyserini's speed, where the processor has the instructions. int8's was set where bf16, which is more accurate,
# has AMX.
FLOORS = {"bf16": 9.0, "int8": 12.0}
LEAST_COSINE = {"fp32": 0.99999, "bf16": 0.9999}
OURS = (("torch", "fp32"), ("onnx", "fp32"), ("torch", "bf16"), ("onnx", "int8"))
COLUMNS = {"passages/s": ".1f", "times Pyserini": ".2f", "least cosine": ".6f", "of GEMM peak": ".0%"}
# Seconds on the machine of `measuring.PROBES`: of a passage by all ways together, and until all are loaded.
PASSAGE, LOADING = 0.62, 90


def main() -> int:
    """Measure by turns, print a table, write JSON."""
    parser = Options(__file__, __doc__, quick={"passages": 64, "rounds": 1})
    add_text_options(parser, topics=False)
    parser.add_argument("--passages", type=int, default=512, help="spread over the collection (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--model", help="what --encoder takes; default: random weights of DistilBERT's size")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    results = Results(arguments, COLUMNS)
    work = PASSAGE * arguments.passages * arguments.rounds
    what = f"models to load and export, {arguments.rounds} rounds of {arguments.passages} passages"
    results.expect(what, matrices=work, python=LOADING)
    with model_to_measure(arguments.model) as model:
        measure(model, passages(arguments.corpus, arguments.passages), arguments.rounds, results)
        judge(results, quick=arguments.quick)
    return results.finish()


def measure(name: str, texts: list[str], rounds: int, results: Results) -> None:
    """Add a row for each way: its speed, and how near its vectors are to Pyserini's."""
    card = encoder_card(name)
    ways: dict[str, Encode] = {"Pyserini": pyserini_passages(card, MAX_LENGTH)}
    for backend, precision in OURS:
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), "cpu", backend=backend)
        way = f"{backend} {precision}"
        if encoder.computes() == way:
            ways[way] = lambda texts, encoder=encoder: encoder.encode(texts, max_length=MAX_LENGTH)
        else:
            results.skip(way, f"who asks for it gets {encoder.computes()} on this processor")
    encoder = TextEncoder(card.model_copy(update={"precision": "fp32"}), "cpu", backend="torch")
    ways |= other_libraries(card, encoder, MAX_LENGTH, results)
    peaks = gemm_peaks(threads(), results)
    for encode in ways.values():  # first calls load code
        encode(texts[:8])
    measured = by_turns({way: lambda encode=encode: timed(encode, texts) for way, encode in ways.items()}, rounds)
    seconds = {way: [second for second, _ in each] for way, each in measured.items()}
    expected = measured["Pyserini"][0][1]
    cosines = {way: cosine(each[0][1], expected) for way, each in measured.items()}
    tokens = [len(ids) for ids in token_ids(encoder, texts, MAX_LENGTH)]
    work = sum(operations(card.model, count) for count in tokens)
    for way, each in seconds.items():
        median = float(np.median(each))
        results.rows[way] = {
            "passages/s": len(texts) / median,
            "times Pyserini": times(seconds["Pyserini"], each),
            "least cosine": cosines[way],
        }
        if precision_of(way) in peaks:
            results.rows[way]["of GEMM peak"] = work / median / peaks[precision_of(way)][0]
    say_what_bounds_it(results, texts, tokens, expected, work, peaks)


def say_what_bounds_it(
    results: Results, texts: list[str], tokens: list[int], vectors: Any, work: float, peaks: dict[str, Any]
) -> None:
    """Note the texts, the machine's peaks, and what is left of them."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    between = float(np.mean((unit @ unit.T)[~np.eye(len(unit), dtype=bool)]))
    results.note(
        f"{len(texts)} passages, {np.mean(tokens):.0f} tokens on average; cosine of different passages: {between:.3f}"
    )
    shown = ", ".join(f"{name} {peak / 1e9:.0f} ({by})" for name, (peak, by) in peaks.items())
    results.note(f"GEMM peak, 10^9 operations a second: {shown}")
    at_peak = peaks["fp32"][0] / work * len(texts) / float(results.rows["Pyserini"]["passages/s"])
    results.note(f"At the fp32 peak, all the model's multiplications would be {at_peak:.2f} times as fast as Pyserini.")


def judge(results: Results, *, quick: bool) -> None:
    """Compare the fastest of ours at each precision with its floor; few passages make small batches, which are slower.

    With AVX512-BF16 the floor of bf16 would be the peak itself.
    """
    ours = [way for way in map(" ".join, OURS) if way in results.rows]
    for asked, least in FLOORS.items() if cpu_has_amx() and not quick else ():
        enough = [way for way in ours if ACCURACY[precision_of(way)] >= ACCURACY[asked]]
        best = max(enough, key=lambda way: results.rows[way]["times Pyserini"][0])
        results.floor(f"{asked} passages, times Pyserini", results.rows[best]["times Pyserini"][0], least=least)
    for way in ours:
        least = LEAST_COSINE.get(precision_of(way))
        if least is not None:
            results.floor(f"{way} passages, least cosine", float(results.rows[way]["least cosine"]), least=least)


def precision_of(way: str) -> Any:
    """The number format in a way's name; fp32 where it names none."""
    last = way.rpartition(" ")[2]
    return last if last in ACCURACY else "fp32"


def timed(encode: Encode, texts: list[str]) -> tuple[float, Any]:
    """Seconds, and the vectors."""
    start = time.perf_counter()
    vectors = encode(texts)
    return time.perf_counter() - start, vectors


def operations(model: str, tokens: int) -> float:
    """That the model's matrix multiplications need for a passage: 2 a weight and token, and attention's."""
    config = json.loads((find_checkpoint(model) / "config.json").read_text())
    layers, size = config.get("n_layers") or config["num_hidden_layers"], config.get("dim") or config["hidden_size"]
    inner = config.get("hidden_dim") or config["intermediate_size"]
    return layers * (2 * tokens * (4 * size**2 + 2 * size * inner) + 4 * tokens**2 * size)


def cosine(found: Any, expected: Any) -> float:
    """The least of all passages."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


if __name__ == "__main__":
    sys.exit(main())
