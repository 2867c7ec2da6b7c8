"""Milliseconds a query: encoding beside Pyserini's AutoQueryEncoder, and exact search; exits with 1 below a floor.

    python benchmarks/query_latency.py --topics queries.tsv

Real queries, a model of DistilBERT's size, all in one process with the same threads, by turns; of the ratios of p50 to
Pyserini's in the same round the median counts. Batches as in Table 1 of the TAS-B paper. Flat search of random vectors
stands beside the time that reading them takes. Needs `pip install -e '.[demo,onnx]'`.
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

import faiss
import numpy as np
import torch
from random_distilbert import model_to_measure

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.environment.java import ensure_java
from pyserini_tasb.environment.processor import cpu_has_int8, threads
from pyserini_tasb.models.checkpoints import find_checkpoint
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Encode = Callable[[Sequence[str]], NDArray[np.float32]]


BATCHES = (1, 10, 2_000)
OURS = (("torch", "fp32"), ("onnx", "fp32"), ("torch", "bf16"), ("onnx", "int8"))
# Times Pyserini's p50 of one query, of the fastest that is exact, and in int8 where the CPU has the instructions.
FLOORS = {"fp32": 2.5, "int8": 6.0}
LEAST_COSINE = 0.99999
DEPTH = 1_000
READS = 10


def main() -> int:
    """Measure by turns, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", required=True, type=Path, help="qid TAB text")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--singly", type=int, default=200, help="queries one by one in a round (default: %(default)s)")
    parser.add_argument("--vectors", type=int, default=200_000, help="that are searched (default: %(default)s)")
    parser.add_argument("--model", help="what --encoder takes; default: random weights of DistilBERT's size")
    parser.add_argument("--output", type=Path, default=Path("query_latency.json"), help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    with arguments.topics.open(encoding="utf-8") as file:
        texts = dict.fromkeys(line.rstrip("\n").partition("\t")[2] for line in file)
    wanted = max(*BATCHES, arguments.singly)
    queries = list(itertools.islice(texts, wanted))
    if len(queries) < wanted:  # what is missing would be timed as nothing
        parser.error(f"--topics has {len(queries)} different queries; {wanted} are needed")
    with model_to_measure(arguments.model) as model:
        encoding = measure_encoding(model, queries, arguments.singly, arguments.rounds)
    searching = measure_search(arguments.vectors, encoding["dimension"])
    missed = report_encoding(encoding)
    report_search(searching)
    result = {"model": model, "threads": threads(), "encoding": encoding, "searching": searching, "missed": missed}
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    return int(bool(missed))


def measure_encoding(name: str, queries: list[str], singly: int, rounds: int) -> dict[str, Any]:
    """Way → batch → round → seconds of each batch; one batch alone of the larger sizes."""
    card = encoder_card(name)
    ways: dict[str, Encode] = {"Pyserini": pyserini_encoder(str(find_checkpoint(card.model)), card.pooling)}
    for backend, precision in OURS:
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), "cpu", backend=backend, texts="queries")
        if encoder.computes() == f"{backend} {precision}":
            ways[f"{backend} {precision}"] = lambda texts, encoder=encoder: encoder.encode(
                texts, max_length=card.query_max_length
            )
    expected = ways["Pyserini"](queries[:singly])
    cosines = {way: least_cosine(encode, queries[:singly], expected) for way, encode in ways.items()}
    seconds: dict[str, dict[int, list[list[float]]]] = {way: {batch: [] for batch in BATCHES} for way in ways}
    for number in range(rounds):
        for batch in BATCHES if number == 0 else BATCHES[:-1]:  # the largest takes a minute
            for way, encode in ways.items():
                starts = range(0, max(singly, batch) - batch + 1, batch)
                seconds[way][batch].append([timed(encode, queries[at : at + batch]) for at in starts])
    return {"seconds": seconds, "cosines": cosines, "dimension": expected.shape[1], "queries": singly}


def pyserini_encoder(folder: str, pooling: str) -> Encode:
    """Pyserini's own; it encodes queries one by one, however many there are."""
    ensure_java()
    from pyserini.encode import AutoQueryEncoder

    encoder = AutoQueryEncoder(encoder_dir=folder, device="cpu", pooling=pooling)
    return lambda texts: np.vstack([encoder.encode(text) for text in texts])


def least_cosine(encode: Encode, queries: list[str], expected: NDArray[np.float32]) -> float:
    """With Pyserini's vectors, encoded one by one."""
    found = np.vstack([encode([query]) for query in queries])
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def timed(encode: Encode, texts: list[str]) -> float:
    """Seconds."""
    start = time.perf_counter()
    encode(texts)
    return time.perf_counter() - start


def measure_search(count: int, dimension: int) -> dict[str, Any]:
    """Seconds of flat search in Faiss by batch, and of reading all vectors once."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((count, dimension), dtype=np.float32)
    faiss.omp_set_num_threads(threads())
    index = faiss.IndexFlatIP(dimension)
    index.add(vectors)
    memory = torch.from_numpy(vectors)
    search: dict[int, list[float]] = {}
    for batch in BATCHES:
        queries = random.standard_normal((batch, dimension), dtype=np.float32)
        index.search(queries, DEPTH)
        search[batch] = []
        for _ in range(READS if batch < max(BATCHES) else 2):
            start = time.perf_counter()
            index.search(queries, DEPTH)
            search[batch].append(time.perf_counter() - start)
    reading = []
    for _ in range(READS):
        start = time.perf_counter()
        memory.max()
        reading.append(time.perf_counter() - start)
    return {"vectors": count, "bytes": vectors.nbytes, "search": search, "reading": reading}


def report_encoding(result: dict[str, Any]) -> list[str]:
    """Print it; the precisions whose floor is missed."""
    print(f"Encoding, milliseconds a batch, {result['queries']} queries a round\n")
    print(f"{'':12} {'p50':>8} {'p99':>8} {'times Pyserini':>20} {'least cosine':>13}" + "".join(
        f"{f'batch {batch}':>12}" for batch in BATCHES[1:]
    ))  # fmt: skip
    best: dict[str, float] = {}
    for way, by_batch in result["seconds"].items():
        one = [second for round_ in by_batch[1] for second in round_]
        ratios = [
            float(np.median(theirs) / np.median(own))
            for theirs, own in zip(result["seconds"]["Pyserini"][1], by_batch[1], strict=True)
        ]
        larger = [1e3 * float(np.median(list(itertools.chain(*by_batch[batch])))) for batch in BATCHES[1:]]
        print(
            f"{way:12} {1e3 * np.percentile(one, 50):8.2f} {1e3 * np.percentile(one, 99):8.2f} "
            f"{statistics.median(ratios):8.2f} ({min(ratios):.2f}-{max(ratios):.2f}) {result['cosines'][way]:12.6f}"
            + "".join(f"{each:12.1f}" for each in larger)
        )
        precision = way.rpartition(" ")[2]
        if way != "Pyserini" and (precision == "int8" or result["cosines"][way] >= LEAST_COSINE):
            best[precision] = max(best.get(precision, 0.0), statistics.median(ratios))
    missed = []
    for precision, times in FLOORS.items():
        if best.get(precision, 0.0) < times and (precision != "int8" or cpu_has_int8()):
            missed.append(precision)
            print(f"MISSED: {precision} {best.get(precision, 0.0):.2f} times; wanted {times}")
    return missed


def report_search(result: dict[str, Any]) -> None:
    """Print it, beside what memory allows."""
    reading, size = min(result["reading"]), result["bytes"]
    print(
        f"\nFlat search of {result['vectors']:,} vectors, top {DEPTH}; reading their {size / 2**20:,.0f} MiB takes "
        f"{1e3 * reading:.1f} ms ({size / reading / 1e9:.1f} GB/s)\n"
    )
    for batch, seconds in result["search"].items():
        median = statistics.median(seconds)
        print(f"batch {batch:5}: {1e3 * median:9.1f} ms, {1e3 * median / batch:8.2f} ms a query", end="")
        print(f", {median / reading:.2f} times the reading" if batch == 1 else "")


if __name__ == "__main__":
    sys.exit(main())
