"""Milliseconds a query: encoding beside Pyserini's AutoQueryEncoder and others, and exact search; floors are judged.

    python benchmarks/query_latency.py --quick
    python benchmarks/query_latency.py --topics queries.tsv

Real queries, a model of DistilBERT's size, all in one process with the same threads, by turns; of the ratios of p50 to
Pyserini's in the same round the median counts. Batches as in Table 1 of the TAS-B paper. Flat search of random vectors
stands beside the time that reading them takes. Needs `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from typing import TYPE_CHECKING

import faiss
import numpy as np
import torch
from measuring import Options, Results, by_turns, seconds_of, spread, times
from peers import other_libraries, pyserini_queries
from random_distilbert import model_to_measure
from real_texts import add_text_options, queries

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.environment.processor import cpu_has_int8, threads
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from peers import Encode

BATCHES = (10, 2_000)
OURS = (("torch", "fp32"), ("onnx", "fp32"), ("torch", "bf16"), ("onnx", "int8"))
# Times Pyserini's p50 of one query, where the processor has the instructions; and the least cosine.
INT8, LEAST_COSINE = 6.0, 0.99999
COLUMNS = {
    "p50 ms": ".2f",
    "p99 ms": ".2f",
    "times Pyserini": ".2f",
    "least cosine": ".6f",
    **{f"batch {batch} ms": ".1f" for batch in BATCHES},
}
DEPTH = 1_000
READS = 10
# Seconds on the machine of `measuring.PROBES`: of one query by all ways together, and until all are loaded.
QUERY, LOADING = 0.115, 90


def main() -> int:
    """Measure by turns, print tables, write JSON."""
    parser = Options(__file__, __doc__, quick={"rounds": 2, "singly": 60, "batches": [10], "vectors": 50_000})
    add_text_options(parser, corpus=False)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--singly", type=int, default=200, help="queries one by one in a round (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="*", default=list(BATCHES), help="larger ones (default: 10 2000)")
    parser.add_argument("--vectors", type=int, default=200_000, help="that are searched (default: %(default)s)")
    parser.add_argument("--model", help="what --encoder takes; default: random weights of DistilBERT's size")
    arguments = parser.parse_args()
    torch.set_num_threads(threads())
    texts = queries(arguments.topics)
    wanted = max(*arguments.batches, arguments.singly)
    if len(texts) < wanted:  # what is missing would be timed as nothing
        parser.error(f"--topics has {len(texts)} different queries; {wanted} are needed")
    results = Results(arguments, COLUMNS)
    work = QUERY * (arguments.singly * (1 + arguments.rounds) + sum(arguments.batches))
    what = f"models to load and export, {arguments.rounds} rounds of {arguments.singly} queries, batches, search"
    results.expect(what, matrices=work + arguments.vectors / 10_000, python=LOADING)
    with model_to_measure(arguments.model) as model:
        dimension = measure_encoding(model, texts, arguments, results)
    measure_search(arguments.vectors, dimension, arguments.batches, results)
    return results.finish()


def measure_encoding(name: str, texts: list[str], arguments, results: Results) -> int:
    """Add a row for each way; the vectors' dimension."""
    card = encoder_card(name)
    ways: dict[str, Encode] = {"Pyserini": pyserini_queries(card)}
    for backend, precision in OURS:
        encoder = TextEncoder(card.model_copy(update={"precision": precision}), "cpu", backend=backend, texts="queries")
        way = f"{backend} {precision}"
        if encoder.computes() == way:
            ways[way] = lambda texts, encoder=encoder: encoder.encode(texts, max_length=card.query_max_length)
        else:
            results.skip(way, f"who asks for it gets {encoder.computes()} on this processor")
    ours = list(ways)[1:]
    encoder = TextEncoder(card.model_copy(update={"precision": "fp32"}), "cpu", backend="torch", texts="queries")
    ways |= other_libraries(card, encoder, card.query_max_length, results)
    single = texts[: arguments.singly]
    expected = ways["Pyserini"](single)
    for way, encode in ways.items():
        results.rows[way] = {"least cosine": least_cosine(encode, single, expected)}
    one_by_one = {way: lambda encode=encode: one_each(encode, single) for way, encode in ways.items()}
    measured = by_turns(one_by_one, arguments.rounds)
    medians = {way: [statistics.median(each) for each in rounds] for way, rounds in measured.items()}
    for way, rounds in measured.items():
        milliseconds = 1e3 * np.concatenate(rounds)
        results.rows[way] |= {
            "p50 ms": float(np.percentile(milliseconds, 50)),
            "p99 ms": float(np.percentile(milliseconds, 99)),
            "times Pyserini": times(medians["Pyserini"], medians[way]),
        }
    for batch in arguments.batches:  # once: Pyserini's largest takes a minute
        for way, encode in ways.items():
            starts = range(0, max(arguments.singly, batch) - batch + 1, batch)
            seconds = [seconds_of(lambda at=at: encode(texts[at : at + batch])) for at in starts]  # noqa: B023 - called here
            results.rows[way][f"batch {batch} ms"] = 1e3 * statistics.median(seconds)
    results.note(f"{arguments.singly} queries a round; Pyserini encodes a batch's queries one by one")
    judge(results, ours)
    return int(expected.shape[1])


def judge(results: Results, ours: list[str]) -> None:
    """Compare ours with the floors."""
    if cpu_has_int8():
        found = results.rows["onnx int8"]["times Pyserini"][0] if "onnx int8" in ours else 0.0
        results.floor("int8 queries, times Pyserini", found, least=INT8)
    for way in ours:
        if way.endswith("fp32"):
            results.floor(f"{way} queries, least cosine", float(results.rows[way]["least cosine"]), least=LEAST_COSINE)


def one_each(encode: Encode, texts: list[str]) -> list[float]:
    """Seconds of each text, encoded alone."""
    return [seconds_of(lambda text=text: encode([text])) for text in texts]


def least_cosine(encode: Encode, texts: list[str], expected: NDArray[np.float32]) -> float:
    """With Pyserini's vectors, encoded one by one."""
    found = np.vstack([encode([text]) for text in texts])
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def measure_search(count: int, dimension: int, batches: list[int], results: Results) -> None:
    """Note the time of flat search in Faiss by batch, beside that of reading all vectors once, which memory allows."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((count, dimension), dtype=np.float32)
    faiss.omp_set_num_threads(threads())
    index = faiss.IndexFlatIP(dimension)
    index.add(vectors)
    memory = torch.from_numpy(vectors)
    reading = min(seconds_of(memory.max) for _ in range(READS))
    results.note(
        f"Flat search of {count:,} vectors, top {DEPTH}; reading their {vectors.nbytes / 2**20:,.0f} MiB takes "
        f"{1e3 * reading:.1f} ms ({vectors.nbytes / reading / 1e9:.1f} GB/s)"
    )
    for batch in itertools.chain([1], batches):
        asked = random.standard_normal((batch, dimension), dtype=np.float32)
        index.search(asked, DEPTH)
        repeats = READS if batch < max(BATCHES) else 2
        median, *_ = spread([seconds_of(lambda asked=asked: index.search(asked, DEPTH)) for _ in range(repeats)])
        compared = f", {median / reading:.2f} times the reading" if batch == 1 else ""
        results.note(f"batch {batch}: {1e3 * median:.1f} ms, {1e3 * median / batch:.2f} ms a query{compared}")


if __name__ == "__main__":
    sys.exit(main())
